/* Writes a Plan (runtime/plan.h) as a flatbuffer. Same plan, same bytes. */
#ifndef TRICOT_CODEGEN_PLAN_WRITE_H
#define TRICOT_CODEGEN_PLAN_WRITE_H
#include "runtime/plan.h"
/* Returns arena memory aligned to 16 bytes. */
unsigned char *plan_write(Arena *arena, const Plan *plan, size_t *size);
#endif
