# The shim's sources, for every executable of the C tests: only a program's own objects come before
# the C library.
set(fault_injection ${CMAKE_CURRENT_LIST_DIR}/FaultInjection)
set(fault_injection_sources
  ${fault_injection}/allocations.c
  ${fault_injection}/calls.c
  ${fault_injection}/clock.c
  ${fault_injection}/descriptors.c
  ${fault_injection}/plans.c
  ${fault_injection}/sites.c
  ${fault_injection}/waiting.c)
