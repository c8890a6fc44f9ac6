#include "check.h"

int main() { return check::RunTests(); }
