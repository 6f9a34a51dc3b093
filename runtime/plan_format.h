/* The header in front of a plan's flatbuffer, for its reader and its writer only.
 *
 * 32 bytes, little-endian; the buffer follows and fills the rest. The checksum covers the buffer;
 * every header byte is checked on its own, so that no flipped bit goes unnoticed. Flatbuffers'
 * verifier alone would not do: it checks structure, not values.
 */
#ifndef TRICOT_RUNTIME_PLAN_FORMAT_H
#define TRICOT_RUNTIME_PLAN_FORMAT_H
#include <stddef.h>
#include <stdint.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#define PLAN_MAGIC "tricotPL"

typedef struct PlanHeader {
  char magic[8];
  uint32_t version, reserved; /* reserved is 0 */
  uint64_t size;              /* of the buffer */
  uint64_t checksum;          /* XXH64 of the buffer, seed PLAN_VERSION */
} PlanHeader;

static inline uint64_t plan_checksum(const void *buffer, size_t size, uint32_t version) {
  return XXH64(buffer, size, version);
}
#endif
