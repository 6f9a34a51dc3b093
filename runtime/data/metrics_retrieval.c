/* Recall of image-text retrieval. See metrics.h. */
#include "runtime/base/arena.h"
#include "runtime/data/metrics_private.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* The order of additions is fixed, so equal rows give equal sums. */
static double dot(const float *a, const float *b, int64_t width) {
  double sum[4] = {0};
  int64_t i = 0;
  for (; i + 4 <= width; i += 4)
    for (int lane = 0; lane < 4; lane++)
      sum[lane] += (double)a[i + lane] * (double)b[i + lane];
  for (; i < width; i++)
    sum[0] += (double)a[i] * (double)b[i];
  return (sum[0] + sum[1]) + (sum[2] + sum[3]);
}

static bool check_latents(const char *name, const float *rows, int64_t count, Error *error) {
  for (int64_t i = 0; i < count; i++)
    if (!isfinite(rows[i]))
      return error_set(error, "the %s latents hold a value that is not finite", name);
  return true;
}

/* How many candidates come before the match of each query; NONE: no query. */
enum { NONE = -1 };

typedef struct Search {
  const Retrieval *r;
  int64_t *first;                      /* of each pair: the lowest index with the same item */
  double *own;                         /* of each image: similarity to its text */
  double *row;                         /* similarities of one text */
  int64_t *before_text, *before_image; /* by text (of its images), by image (of its text) */
} Search;

/* One text against all images: the place of its best image, and its part in theirs. */
static void search_row(Search *s, int64_t t) {
  const Retrieval *r = s->r;
  int64_t best = -1, before = 0;
  for (int64_t i = 0; i < r->count; i++) {
    s->row[i] = dot(r->texts + t * r->width, r->images + i * r->width, r->width);
    if (s->first[i] == t && (best < 0 || s->row[i] > s->row[best]))
      best = i;
  }
  for (int64_t i = 0; i < r->count; i++) {
    if (s->first[i] == t)
      continue;
    before += s->row[i] > s->row[best] || (s->row[i] == s->row[best] && i < best);
    s->before_image[i] += s->row[i] > s->own[i] || (s->row[i] == s->own[i] && t < s->first[i]);
  }
  s->before_text[t] = before;
}

static void search(Search *s) {
  const Retrieval *r = s->r;
  for (int64_t i = 0; i < r->count; i++) {
    int64_t t = s->first[i];
    s->own[i] = dot(r->texts + t * r->width, r->images + i * r->width, r->width);
    s->before_text[i] = NONE;
    s->before_image[i] = 0;
  }
  for (int64_t t = 0; t < r->count; t++)
    if (s->first[t] == t)
      search_row(s, t);
}

static double share_within(const int64_t *before, const int32_t *weights, int64_t count,
                           int64_t k) {
  int64_t hits = 0, queries = 0;
  for (int64_t i = 0; i < count; i++)
    if (before[i] != NONE) {
      queries += weights ? weights[i] : 1;
      hits += before[i] < k ? (weights ? weights[i] : 1) : 0;
    }
  return queries ? (double)hits / (double)queries : NAN;
}

static int by_rank(const void *a, const void *b) {
  int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
  return (x > y) - (x < y);
}

static void summarise(const int64_t *before, int64_t count, const RetrievalMetrics *m,
                      RecallMetrics *result) {
  int64_t *ranks = mem_alloc(sizeof *ranks * (size_t)count), n = 0;
  double sum = 0;
  for (int64_t i = 0; i < count; i++)
    if (before[i] != NONE) {
      ranks[n++] = before[i] + 1;
      sum += (double)before[i] + 1;
    }
  qsort(ranks, (size_t)n, sizeof *ranks, by_rank);
  result->queries = n;
  result->mean_rank = sum / (double)n;
  result->median_rank = 0.5 * ((double)ranks[(n - 1) / 2] + (double)ranks[n / 2]);
  for (int i = 0; i < m->n_k; i++)
    result->recall[i] = share_within(before, NULL, count, m->k[i]);
  free(ranks);
}

static void find_bounds(const Search *s, int64_t replicates, uint64_t seed, RetrievalMetrics *m) {
  size_t count = (size_t)s->r->count;
  int64_t *groups = mem_alloc(sizeof *groups * count);
  int64_t patients = metrics_groups(s->r->patients, s->r->count, groups);
  int32_t *drawn = mem_alloc(sizeof *drawn * count), *weights = mem_alloc(sizeof *weights * count);
  double *values = mem_alloc(sizeof *values * (size_t)(2 * m->n_k * replicates + 1));
  for (int64_t b = 0; b < replicates; b++) {
    metrics_draw(groups, s->r->count, patients, seed, b, drawn, weights);
    for (int i = 0; i < 2 * m->n_k; i++)
      values[i * replicates + b] = patients > 1
                                       ? share_within(i < m->n_k ? s->before_text : s->before_image,
                                                      weights, s->r->count, m->k[i % m->n_k])
                                       : NAN;
  }
  for (int i = 0; i < 2 * m->n_k; i++) {
    RecallMetrics *direction = i < m->n_k ? &m->text_to_image : &m->image_to_text;
    metrics_percentiles(values + i * replicates, replicates, &direction->low[i % m->n_k],
                        &direction->high[i % m->n_k]);
  }
  m->bounds = true;
  free(groups);
  free(drawn);
  free(weights);
  free(values);
}

bool metrics_retrieve(const Retrieval *r, int64_t replicates, uint64_t seed, RetrievalMetrics *m,
                      Error *error) {
  if (r->count < 1 || r->width < 1)
    return error_set(error, "there is nothing to retrieve: %lld pairs of %lld values",
                     (long long)r->count, (long long)r->width);
  if (!check_latents("image", r->images, r->count * r->width, error) ||
      !check_latents("text", r->texts, r->count * r->width, error))
    return false;
  size_t count = (size_t)r->count;
  Search s = {.r = r,
              .first = mem_alloc(sizeof *s.first * count),
              .own = mem_alloc(sizeof *s.own * count),
              .row = mem_alloc(sizeof *s.row * count),
              .before_text = mem_alloc(sizeof *s.before_text * count),
              .before_image = mem_alloc(sizeof *s.before_image * count)};
  /* groups are numbered by first appearance: the first pair of each is where the number is new */
  int64_t *groups = mem_alloc(sizeof *groups * count), *firsts = mem_alloc(sizeof *firsts * count);
  metrics_groups(r->items, r->count, groups);
  for (int64_t i = 0, seen = 0; i < r->count; i++) {
    if (groups[i] == seen)
      firsts[seen++] = i;
    s.first[i] = firsts[groups[i]];
  }
  search(&s);
  m->bounds = false;
  summarise(s.before_text, r->count, m, &m->text_to_image);
  summarise(s.before_image, r->count, m, &m->image_to_text);
  if (replicates > 0)
    find_bounds(&s, replicates, seed, m);
  free(groups);
  free(firsts);
  free(s.first);
  free(s.own);
  free(s.row);
  free(s.before_text);
  free(s.before_image);
  return true;
}
