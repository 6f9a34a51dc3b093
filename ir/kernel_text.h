/* Pieces of the kernel printer that the verifier and the interpreter need for their messages. */
#ifndef TRICOT_IR_KERNEL_TEXT_H
#define TRICOT_IR_KERNEL_TEXT_H
#include "ir/kernel.h"

/* The statement's own line without indentation or newline; loops and branches end in '{'. */
void stmt_print_line(const Kernel *kernel, const Stmt *stmt, Text *text);
/* "line 12: <the statement's line>" (the place when the statement came from text), for messages; in
 * a static buffer of the calling thread. */
const char *stmt_text(const Kernel *kernel, const Stmt *stmt);
/* "f32[4x8, 16]" for a tile, "f32x16" for a value; rotating static buffers. */
const char *tile_type_text(const Tile *tile);
const char *value_type_text(const KValue *value);
#endif
