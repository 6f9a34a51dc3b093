/* A device with all that kernels can use; few threads, so that interpreting takes little time. */
#ifndef TRICOT_TEST_DEVICE_FACTS_H
#define TRICOT_TEST_DEVICE_FACTS_H
#include "ir/target.h"

static const Facts device_facts = {.vector = 1,
                                   .registers = 64,
                                   .threads = 64,
                                   .shared = 48 << 10,
                                   .l1 = 128 << 10,
                                   .l2 = 64 << 10,
                                   .matrix_units = true,
                                   .async_copies = true};
#endif
