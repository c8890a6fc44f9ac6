# MindSpore Lite, from the unpacked tarball in LITE_HOME. Defines MindSporeLite::mindspore-lite.
find_path(MindSporeLite_INCLUDE_DIR include/api/model.h HINTS ${LITE_HOME}/runtime NO_DEFAULT_PATH)
find_library(MindSporeLite_LIBRARY mindspore-lite HINTS ${LITE_HOME}/runtime/lib NO_DEFAULT_PATH)

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(MindSporeLite REQUIRED_VARS MindSporeLite_LIBRARY MindSporeLite_INCLUDE_DIR)
if(MindSporeLite_FOUND AND NOT TARGET MindSporeLite::mindspore-lite)
  add_library(MindSporeLite::mindspore-lite UNKNOWN IMPORTED)
  set_target_properties(MindSporeLite::mindspore-lite PROPERTIES
    IMPORTED_LOCATION "${MindSporeLite_LIBRARY}"
    INTERFACE_INCLUDE_DIRECTORIES "${MindSporeLite_INCLUDE_DIR};${MindSporeLite_INCLUDE_DIR}/include"
    INTERFACE_LINK_LIBRARIES "${CMAKE_DL_LIBS}")
endif()
