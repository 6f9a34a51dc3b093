/* Amounts of memory as people write and read them. */
#ifndef TRICOT_BASE_BYTES_H
#define TRICOT_BASE_BYTES_H
#include "fault.h"
#include <stddef.h>
#include <stdint.h>

/* "12.5 MiB" into a buffer of `room` bytes; 32 suffice. */
void bytes_text(double bytes, char *out, size_t room);

/* "1048576", "512M", "0.4GiB", "400 MiB": a number, then K, M, G or T, alone or with "B" or "iB";
 * all of them powers of 1024. False with the reason when it is none, or not positive. */
bool bytes_parse(const char *text, int64_t *bytes, Error *error);
#endif
