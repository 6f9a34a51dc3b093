# Tests of the command: scripts in tests/cli, and two programs that compare results.
foreach(name compare compare_json)
  add_executable(${name} ${CMAKE_CURRENT_SOURCE_DIR}/${name}.c)
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_CURRENT_BINARY_DIR})
  target_link_libraries(${name} PRIVATE tricot_runtime)
endforeach()

# cli_test(name label seconds script argument...): cli.<name> runs tests/cli/<script>
function(cli_test name label seconds script)
  add_test(NAME cli.${name} COMMAND sh ${CMAKE_CURRENT_SOURCE_DIR}/cli/${script} ${ARGN})
  set_tests_properties(cli.${name} PROPERTIES LABELS ${label} TIMEOUT ${seconds}
    SKIP_RETURN_CODE 77
    ENVIRONMENT "TRICOT_BUILD=${CMAKE_BINARY_DIR};TRICOT_SOURCE=${CMAKE_SOURCE_DIR}")
endfunction()

cli_test(compare fast 60 compare.sh)
cli_test(inspect fast 120 inspect.sh)
cli_test(errors fast 300 errors.sh)
cli_test(data fast 120 data.sh)
foreach(target interp c cuda-shim)
  cli_test(heads.${target} fast 120 heads.sh ${target})
endforeach()
cli_test(golden.interp fast 300 golden.sh interp all)
cli_test(golden.c fast 600 golden.sh c)
cli_test(golden.c_all long 1800 golden.sh c all)
cli_test(golden.cuda-shim fast 600 golden.sh cuda-shim all)
cli_test(skip.cuda-shim long 1800 skip.sh cuda-shim)
if(TRICOT_LLVM)
  cli_test(heads.cpu fast 120 heads.sh cpu)
  cli_test(golden.cpu fast 300 golden.sh cpu all)
  cli_test(trajectory fast 300 trajectory.sh)
  cli_test(threads fast 300 threads.sh)
  cli_test(skip.cpu fast 600 skip.sh cpu)
endif()

unit_test(nvrtc_model tricot_driver)
target_compile_definitions(test_nvrtc_model PRIVATE TRICOT_SOURCE="${CMAKE_SOURCE_DIR}")
set_tests_properties(unit.nvrtc_model PROPERTIES TIMEOUT 600)
