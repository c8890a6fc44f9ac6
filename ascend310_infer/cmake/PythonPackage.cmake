# Sets ${result} to the folder of a Python package, without importing it; empty if there is none.
function(find_python_package package result)
  execute_process(
    COMMAND ${PYTHON} -c
      "from importlib.util import find_spec; print(next(iter(find_spec('${package}').submodule_search_locations)))"
    OUTPUT_VARIABLE folder OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
  set(${result} "${folder}" PARENT_SCOPE)
endfunction()
