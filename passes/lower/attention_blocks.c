/* Sizes of attention's tiles: lanes of a block, steps it takes at a time and in how many parts.
 *
 * On CPUs a block has two vectors of lanes, so that an element of the left factor is used twice,
 * and scores of as many steps as keep them and the tokens in the first-level cache. Where a block
 * has threads, tiles are small enough for their shared memory.
 */
#include "passes/lower/attention.h"

enum { STEPS = 64, GPU_STEPS = 32, GPU_LANES = 32, LEAST = 4 };

/* Bytes of shared memory the largest of the three kernels takes: tiles of lanes, staged and turned
 * tiles of steps, score tiles. */
static int64_t shared_bytes(int64_t channels, int64_t lanes, int64_t steps) {
  return 4 * (channels * lanes + 2 * steps * channels + 3 * steps * lanes + 16 * (lanes + steps));
}

static void choose_blocks(Attention *a, const Facts *facts) {
  int64_t channels = a->width + a->value_width;
  int vector = facts->vector, lanes, steps;
  if (facts->threads > 1) {
    lanes = GPU_LANES, steps = GPU_STEPS;
    while (steps > LEAST && shared_bytes(channels, lanes, steps) > facts->shared)
      *(lanes > steps ? &lanes : &steps) /= 2;
  } else {
    lanes = vector < 8 ? 16 : a->lane.tokens <= vector ? vector : 2 * vector;
    steps = STEPS;
  }
  a->lane.block = lanes;
  if (a->step.tokens < steps)
    steps = (int)(ceil_div(a->step.tokens, a->parts) * a->parts);
  a->step.block = steps;
}

/* 2 where factors are bf16 on a machine that multiplies pairs of them. */
static int choose_parts(const Attention *a, const Facts *facts) {
  bool pairs = facts->bf16_pairs && a->width % 2 == 0 && a->value_width % 2 == 0;
  Value *factors[] = {a->lane.x, a->lane.y, a->step.x, a->step.y};
  for (int i = 0; i < 4; i++)
    pairs = pairs && (!factors[i] || stored_dtype(factors[i]) == DT_bf16);
  return pairs ? 2 : 1;
}

void attention_choose(Attention *a, const Facts *facts) {
  a->parts = choose_parts(a, facts);
  choose_blocks(a, facts);
}
