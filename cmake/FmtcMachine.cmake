# Refuses machines that fmtc is not for. Also a script: cmake -DCMAKE_SIZEOF_VOID_P=... -P this.
if(NOT CMAKE_SIZEOF_VOID_P EQUAL 8 OR CMAKE_CXX_BYTE_ORDER STREQUAL "BIG_ENDIAN")
  math(EXPR FMTC_BITS "8 * ${CMAKE_SIZEOF_VOID_P}")
  message(FATAL_ERROR "fmtc is for 64-bit little-endian machines: sizes of streams need 64 bits, and "
    "levels are kept in memory as in streams. This compiler makes ${FMTC_BITS}-bit "
    "${CMAKE_CXX_BYTE_ORDER} code.")
endif()
