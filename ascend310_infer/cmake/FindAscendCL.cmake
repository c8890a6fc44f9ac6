# AscendCL, from the CANN toolkit in ASCEND_HOME. Defines AscendCL::ascendcl.
set(ascendcl_homes ${ASCEND_HOME} /usr/local/Ascend/ascend-toolkit/latest)
find_path(AscendCL_INCLUDE_DIR acl/acl.h
  HINTS ${ascendcl_homes} PATH_SUFFIXES include runtime/include NO_DEFAULT_PATH)
find_library(AscendCL_LIBRARY ascendcl
  HINTS ${ascendcl_homes} PATH_SUFFIXES lib64 runtime/lib64 NO_DEFAULT_PATH)

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(AscendCL REQUIRED_VARS AscendCL_LIBRARY AscendCL_INCLUDE_DIR)
if(AscendCL_FOUND AND NOT TARGET AscendCL::ascendcl)
  add_library(AscendCL::ascendcl UNKNOWN IMPORTED)
  set_target_properties(AscendCL::ascendcl PROPERTIES
    IMPORTED_LOCATION "${AscendCL_LIBRARY}"
    INTERFACE_INCLUDE_DIRECTORIES "${AscendCL_INCLUDE_DIR}")
endif()
