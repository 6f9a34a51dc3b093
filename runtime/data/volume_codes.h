/* The codes of a block of a volume file: values to residuals and back. Part of volume_file.c. */
#ifndef TRICOT_RUNTIME_DATA_VOLUME_CODES_H
#define TRICOT_RUNTIME_DATA_VOLUME_CODES_H
#include "runtime/data/volume_file.h"

/* Values to residuals; `bytes` gets the high bytes of all codes, then the low ones. codes[planes *
 * rows * width] is room to work in. */
void codes_encode(const float *values, const int64_t shape[3], VolumeStore store, double scale,
                  uint16_t *codes, uint8_t *bytes);
/* Back again, without planes before `first`. room[(rows + 1) * width]. */
void codes_decode(const uint8_t *bytes, const int64_t shape[3], VolumeStore store, double scale,
                  int64_t first, uint16_t *room, float *out);
#endif
