# What is installed: the libraries, the header, and the files by which CMake and pkg-config find them.

include(CMakePackageConfigHelpers)

# Two export sets, so that a user of the shared library needs no development files of libevent.
set(package_directory ${CMAKE_INSTALL_LIBDIR}/cmake/CServerCore)
if(build_shared)
  install(TARGETS cservercore EXPORT CServerCoreTargets)
  install(EXPORT CServerCoreTargets NAMESPACE CServerCore:: DESTINATION ${package_directory})
endif()
if(build_static)
  install(TARGETS cservercore_static EXPORT CServerCoreStaticTargets)
  install(EXPORT CServerCoreStaticTargets NAMESPACE CServerCore:: DESTINATION ${package_directory})
endif()
install(FILES Sources/CServerCore/include/CServerCore.h cmake/module.modulemap
  DESTINATION ${include_directory})
install(DIRECTORY Sources/CServerCore/include/CServerCore DESTINATION ${include_directory})

configure_package_config_file(cmake/CServerCoreConfig.cmake.in CServerCoreConfig.cmake
  INSTALL_DESTINATION ${package_directory}
  NO_SET_AND_CHECK_MACRO)
write_basic_package_version_file(CServerCoreConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES
  ${CMAKE_CURRENT_BINARY_DIR}/CServerCoreConfig.cmake
  ${CMAKE_CURRENT_BINARY_DIR}/CServerCoreConfigVersion.cmake
  DESTINATION ${package_directory})

# A shared library brings libevent along; a program with the static one links libevent itself. Not by Requires.private:
# pkg-config then wants libevent's own file for the shared library, too.
set(libevent_required)
set(libevent_linked_statically)
if(build_shared)
  list(JOIN CServerCore_libevent_STATIC_LDFLAGS " " libevent_linked_statically)
else()
  set(libevent_required libevent_core)
endif()

# Relative to the .pc file, so that an installed tree may be moved.
set(pkg_config_directory ${CMAKE_INSTALL_FULL_LIBDIR}/pkgconfig)
file(RELATIVE_PATH prefix_from_pkg_config ${pkg_config_directory} ${CMAKE_INSTALL_PREFIX})
string(REGEX REPLACE "/$" "" prefix_from_pkg_config ${prefix_from_pkg_config})
file(RELATIVE_PATH libdir_from_prefix ${CMAKE_INSTALL_PREFIX} ${CMAKE_INSTALL_FULL_LIBDIR})
file(RELATIVE_PATH includedir_from_prefix ${CMAKE_INSTALL_PREFIX}
  ${CMAKE_INSTALL_FULL_INCLUDEDIR}/cservercore)
configure_file(cmake/cservercore.pc.in cservercore.pc @ONLY)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/cservercore.pc
  DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
