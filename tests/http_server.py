"""A file server on the loopback interface for tests of downloads, with the faults that real ones have."""
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class FileServer:
    """What to answer, and what was asked.

    Attributes:
        files: path, such as "/a.pth" -> content.
        version: ETag of all files; "" for none.
        ranges: whether requests for a part are answered with it.
        cuts: bytes after which the connections end, one number for each connection that does.
        statuses: answers with these codes come first.
        requests: (path, Range header or "") of each request.
    """

    def __init__(self, files):
        self.files = dict(files)
        self.version = '"1"'
        self.ranges = True
        self.cuts = []
        self.statuses = []
        self.requests = []
        self.address = ""


def _handler(server):
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked = self.headers.get("Range", "")
            server.requests.append((self.path, asked))
            content = server.files.get(self.path)
            if server.statuses or content is None:
                self.send_error(server.statuses.pop(0) if server.statuses else 404)
                return
            start = 0
            if asked and server.ranges and self.headers.get("If-Range") == server.version:
                start = int(asked[len("bytes="):-1])
                if start >= len(content):
                    self.send_error(416)
                    return
            self.send_response(206 if start else 200)
            if server.version:
                self.send_header("ETag", server.version)
            self.send_header("Content-Length", str(len(content) - start))
            self.end_headers()
            rest = content[start:]
            self.wfile.write(rest[:server.cuts.pop(0)] if server.cuts else rest)

        def log_message(self, *_):
            pass

    return Handler


@contextmanager
def serve(files):
    """A running FileServer whose `address` ends without a slash."""
    server = FileServer(files)
    http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(server))
    server.address = f"http://127.0.0.1:{http.server_port}"
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        http.shutdown()
        thread.join()
        http.server_close()
