# The C library for TLS, libcservertls, shared and static: of OpenSSL 3, and nothing of libevent or of the core. Only
# what links it links OpenSSL.

pkg_check_modules(CServerTLS_openssl REQUIRED IMPORTED_TARGET GLOBAL libssl>=3.0 libcrypto>=3.0)

add_library(cservertls_objects OBJECT
  Sources/CServerTLS/authorities.c
  Sources/CServerTLS/connection.c
  Sources/CServerTLS/context.c
  Sources/CServerTLS/data.c
  Sources/CServerTLS/failure.c
  Sources/CServerTLS/hello.c
  Sources/CServerTLS/identities.c
  Sources/CServerTLS/identity.c
  Sources/CServerTLS/peer.c
  Sources/CServerTLS/prepare.c
  Sources/CServerTLS/psk.c
  Sources/CServerTLS/session.c
  Sources/CServerTLS/setting_error.c
  Sources/CServerTLS/ticket_keys.c
  Sources/CServerTLS/tickets.c
  Sources/CServerTLS/transport.c
  Sources/CServerTLS/verify.c)
target_compile_definitions(cservertls_objects PRIVATE _GNU_SOURCE)
target_include_directories(cservertls_objects PRIVATE Sources/CServerTLS/include)
target_link_libraries(cservertls_objects
  PRIVATE PkgConfig::CServerTLS_openssl $<BUILD_INTERFACE:cservercore_warnings>)
set_target_properties(cservertls_objects PROPERTIES
  C_STANDARD 11
  C_STANDARD_REQUIRED ON
  C_EXTENSIONS OFF
  C_VISIBILITY_PRESET hidden
  POSITION_INDEPENDENT_CODE ON)

set(tls_include_directory ${CMAKE_INSTALL_INCLUDEDIR}/cservertls)

set(tls_libraries)
if(build_shared)
  add_library(cservertls SHARED $<TARGET_OBJECTS:cservertls_objects>)
  list(APPEND tls_libraries cservertls)
endif()
if(build_static)
  add_library(cservertls_static STATIC $<TARGET_OBJECTS:cservertls_objects>)
  list(APPEND tls_libraries cservertls_static)
endif()
foreach(library IN LISTS tls_libraries)
  add_library(CServerTLS::${library} ALIAS ${library})
  target_include_directories(${library} INTERFACE
    $<BUILD_INTERFACE:${CMAKE_CURRENT_SOURCE_DIR}/Sources/CServerTLS/include>
    $<INSTALL_INTERFACE:${tls_include_directory}>)
  target_link_libraries(${library} PRIVATE PkgConfig::CServerTLS_openssl)
  set_target_properties(${library} PROPERTIES OUTPUT_NAME cservertls LINKER_LANGUAGE C)
endforeach()
if(NOT build_shared)
  add_library(CServerTLS::cservertls ALIAS cservertls_static)
endif()

# Until 1.0 a minor version may break the ABI, so it is part of the SONAME. The version is the core's.
if(build_shared)
  target_link_options(cservertls PRIVATE
    LINKER:--version-script=${CMAKE_CURRENT_SOURCE_DIR}/cmake/cservertls.map)
  set_target_properties(cservertls PROPERTIES
    VERSION ${PROJECT_VERSION}
    SOVERSION ${PROJECT_VERSION_MAJOR}.${PROJECT_VERSION_MINOR}
    LINK_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/cmake/cservertls.map)
endif()

if(CSERVERCORE_INSTALL)
  include(cmake/TLSInstallation.cmake)
endif()
if(CSERVERCORE_BUILD_TESTS)
  add_subdirectory(Tests/CServerTLSTests)
endif()
