/* PNG images of 8-bit grey (ISO/IEC 15948), written with zlib. */
#ifndef TRICOT_RUNTIME_DATA_PNG_H
#define TRICOT_RUNTIME_DATA_PNG_H
#include "runtime/base/text.h"
#include <stdint.h>

/* Adds the bytes of a PNG file; pixels are [height][width], 0 black, 255 white. */
void png_add_grey(Text *out, const uint8_t *pixels, int width, int height);
/* Adds bytes in base64 (RFC 4648). */
void base64_add(Text *out, const unsigned char *bytes, size_t size);
#endif
