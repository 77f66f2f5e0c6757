# What is installed of the library for TLS, as in Installation.cmake, whose paths hold here, too.

set(tls_package_directory ${CMAKE_INSTALL_LIBDIR}/cmake/CServerTLS)
if(build_shared)
  install(TARGETS cservertls EXPORT CServerTLSTargets)
  install(EXPORT CServerTLSTargets NAMESPACE CServerTLS:: DESTINATION ${tls_package_directory})
endif()
if(build_static)
  install(TARGETS cservertls_static EXPORT CServerTLSStaticTargets)
  install(EXPORT CServerTLSStaticTargets NAMESPACE CServerTLS:: DESTINATION ${tls_package_directory})
endif()
install(FILES Sources/CServerTLS/include/CServerTLS.h DESTINATION ${tls_include_directory})
install(FILES cmake/tls.modulemap DESTINATION ${tls_include_directory} RENAME module.modulemap)
install(DIRECTORY Sources/CServerTLS/include/CServerTLS DESTINATION ${tls_include_directory})

configure_package_config_file(cmake/CServerTLSConfig.cmake.in CServerTLSConfig.cmake
  INSTALL_DESTINATION ${tls_package_directory}
  NO_SET_AND_CHECK_MACRO)
write_basic_package_version_file(CServerTLSConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES
  ${CMAKE_CURRENT_BINARY_DIR}/CServerTLSConfig.cmake
  ${CMAKE_CURRENT_BINARY_DIR}/CServerTLSConfigVersion.cmake
  DESTINATION ${tls_package_directory})

set(openssl_required)
set(openssl_linked_statically)
if(build_shared)
  list(JOIN CServerTLS_openssl_STATIC_LDFLAGS " " openssl_linked_statically)
else()
  set(openssl_required "libssl >= 3.0, libcrypto >= 3.0")
endif()
file(RELATIVE_PATH tls_includedir_from_prefix ${CMAKE_INSTALL_PREFIX}
  ${CMAKE_INSTALL_FULL_INCLUDEDIR}/cservertls)
configure_file(cmake/cservertls.pc.in cservertls.pc @ONLY)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/cservertls.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
