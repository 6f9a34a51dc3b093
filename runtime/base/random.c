/* Philox 4x32-10 and the two distributions the initialisers need. See random.h. */
#include "random.h"
#include <math.h>

void random_bits(uint64_t seed, uint64_t stream, uint64_t index, uint32_t out[4]) {
  uint32_t key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)};
  uint32_t c[4] = {(uint32_t)index, (uint32_t)(index >> 32), (uint32_t)stream,
                   (uint32_t)(stream >> 32)};
  for (int round = 0; round < 10; round++) {
    uint64_t a = (uint64_t)0xD2511F53u * c[0], b = (uint64_t)0xCD9E8D57u * c[2];
    uint32_t next[4] = {(uint32_t)(b >> 32) ^ c[1] ^ key[0], (uint32_t)b,
                        (uint32_t)(a >> 32) ^ c[3] ^ key[1], (uint32_t)a};
    for (int i = 0; i < 4; i++)
      c[i] = next[i];
    key[0] += 0x9E3779B9u;
    key[1] += 0xBB67AE85u;
  }
  for (int i = 0; i < 4; i++)
    out[i] = c[i];
}

static double unit(uint32_t high, uint32_t low) {
  return (double)(((uint64_t)high << 21) ^ (low >> 11)) * 0x1p-53;
}

double random_uniform(uint64_t seed, uint64_t stream, uint64_t index) {
  uint32_t bits[4];
  random_bits(seed, stream, index, bits);
  return unit(bits[0], bits[1]);
}

double random_normal(uint64_t seed, uint64_t stream, uint64_t index) {
  uint32_t bits[4];
  random_bits(seed, stream, index, bits);
  /* Box-Muller; 1 - u keeps the logarithm's argument above zero */
  double radius = sqrt(-2.0 * log(1.0 - unit(bits[0], bits[1])));
  return radius * cos(6.283185307179586 * unit(bits[2], bits[3]));
}

void random_permutation(uint64_t seed, uint64_t stream, int64_t *at, int64_t count) {
  for (int64_t i = 0; i < count; i++)
    at[i] = i;
  for (int64_t i = count - 1; i > 0; i--) {
    int64_t k = (int64_t)(random_uniform(seed, stream, (uint64_t)i) * (double)(i + 1));
    int64_t held = at[i];
    at[i] = at[k];
    at[k] = held;
  }
}
