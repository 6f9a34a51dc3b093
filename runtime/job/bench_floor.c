/* Floors of steps: executed operations at the measured rate of fused multiply-adds, or compulsory
 * bytes at the measured rate of where they can be, whichever takes longer.
 *
 * Where bytes can be is found with stack distances (Mattson, Gecsei, Slutz and Traiger, Evaluation
 * techniques for storage hierarchies, IBM Systems Journal 9(2), 1970): a byte is in a cache that
 * keeps the last used lines when fewer bytes than the cache has were used since. The caches of all
 * cores count as one, so the answer is the best case; a floor must not be above what is possible.
 */
#include "runtime/job/bench_floor.h"
#include <stdlib.h>
#include <string.h>

typedef struct Interval { /* bytes of a plan's memory */
  int64_t low, high;
} Interval;

typedef struct Recent { /* what was used last, without repetitions; the latest at the end */
  Interval *at;
  int count, room;
} Recent;

static void recent_push(Recent *r, Interval interval) {
  if (r->count == r->room) {
    r->room = r->room ? 2 * r->room : 256;
    r->at = mem_resize(r->at, sizeof *r->at * (size_t)r->room);
  }
  r->at[r->count++] = interval;
}

/* Replaces entry i by what is left of it outside of [low, high). */
static void cut_out(Recent *r, int i, int64_t low, int64_t high) {
  Interval old = r->at[i];
  Interval parts[2] = {{old.low, low}, {high, old.high}};
  int n = 0;
  for (int k = 0; k < 2; k++)
    if (parts[k].low < parts[k].high)
      parts[n++] = parts[k];
  if (n == 2)
    recent_push(r, (Interval){0}); /* room for one more */
  int moved = r->count - (n == 2) - (i + 1);
  memmove(&r->at[i + n], &r->at[i + 1], sizeof *r->at * (size_t)moved);
  memcpy(&r->at[i], parts, sizeof *parts * (size_t)n);
  r->count = i + n + moved;
}

/* Uses an interval: adds its bytes to by_level, where level k holds what was used within
 * capacity[k] bytes and the last level has no bound. */
static void use(Recent *r, Interval wanted, const int64_t *capacity, int levels, double *by_level) {
  int64_t since = 0, left = wanted.high - wanted.low;
  for (int i = r->count - 1; i >= 0; i--) {
    Interval old = r->at[i];
    if (since > capacity[levels - 2]) { /* in no cache any more: forget it */
      memmove(r->at, &r->at[i + 1], sizeof *r->at * (size_t)(r->count - i - 1));
      r->count -= i + 1;
      break;
    }
    int64_t low = old.low > wanted.low ? old.low : wanted.low;
    int64_t high = old.high < wanted.high ? old.high : wanted.high;
    since += old.high - old.low;
    if (low >= high)
      continue;
    int level = 0;
    while (level < levels - 1 && since > capacity[level])
      level++;
    by_level[level] += (double)(high - low);
    left -= high - low;
    cut_out(r, i, low, high);
  }
  by_level[levels - 1] += (double)left;
  recent_push(r, wanted);
}

/* One number for every byte a plan has: the places lie far apart. */
static int64_t address_of(const int64_t *tensors, PlanRef ref) {
  int64_t at = ref.place == PLACE_PERSISTENT ? tensors[ref.at] : ref.at;
  return ((int64_t)ref.place << 50) + at;
}

double bench_seconds_at_peak(const PlanStep *step, const MachinePeak *peak) {
  double paired = peak->bf16 > 0 ? step->paired_flops : 0;
  return (peak->f32 > 0 ? (step->flops - paired) / peak->f32 : 0) +
         (paired > 0 ? paired / peak->bf16 : 0);
}

static void add_bound(StepFloor *floor, double amount, double rate, const char *bound) {
  double seconds = rate > 0 ? amount / rate : 0;
  if (seconds > floor->seconds) {
    floor->seconds = seconds;
    floor->bound = bound;
  }
}

/* All bytes that come from further away pass through the nearer levels. */
static StepFloor floor_of(const PlanStep *step, const double by_level[4], const MachinePeak *peak) {
  StepFloor floor = {
      .bound = "", .l1 = by_level[0], .l2 = by_level[1], .l3 = by_level[2], .memory = by_level[3]};
  /* of what data decides nothing is certain */
  double sure = (step->flops - step->open_flops) / (step->flops > 0 ? step->flops : 1);
  add_bound(&floor, sure * bench_seconds_at_peak(step, peak), 1, "fma");
  add_bound(&floor, floor.memory, machine_memory(peak), "memory");
  add_bound(&floor, floor.memory + floor.l3, peak->l3, "L3");
  add_bound(&floor, floor.memory + floor.l3 + floor.l2, peak->l2, "L2");
  return floor;
}

void bench_floors(const Plan *plan, const PlanEntry *entry, const MachinePeak *peak,
                  StepFloor *floors) {
  Recent recent = {0};
  int64_t *tensors = mem_alloc(sizeof *tensors * (size_t)(plan->n_tensors + 1)), at = 0;
  int64_t l2 = peak->l2_bytes > peak->l1_bytes ? peak->l2_bytes : peak->l1_bytes;
  int64_t capacity[3] = {peak->l1_bytes, l2, peak->l3_bytes > l2 ? peak->l3_bytes : l2};
  for (int i = 0; i < plan->n_tensors; i++) {
    tensors[i] = at;
    at += (int64_t)type_bytes(&plan->tensors[i].type) + PLAN_ALIGNMENT;
  }
  for (int run = 0; run < 2; run++) /* the second finds what the first has left */
    for (int s = 0; s < entry->n_steps; s++) {
      const PlanStep *step = &entry->steps[s];
      double by_level[4] = {0};
      if (!step->moved)
        by_level[3] = step->traffic;
      for (int a = 0; step->moved && a < step->n_args; a++) {
        int64_t low = address_of(tensors, step->args[a]);
        if (step->moved[a])
          use(&recent, (Interval){low, low + step->moved[a]}, capacity, 4, by_level);
      }
      floors[s] = floor_of(step, by_level, peak);
    }
  free(recent.at);
  free(tensors);
}
