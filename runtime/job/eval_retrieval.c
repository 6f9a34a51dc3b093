/* eval retrieval: reports find volumes and volumes find reports, by the cosines of their latents.
 *
 * Twice: with every volume and its report as a pair of its own (the rule of the released code), and
 * with the reports that several volumes share counted as one.
 */
#include "runtime/job/eval.h"
#include "runtime/base/map.h"
#include "runtime/job/command.h"
#include <stdlib.h>
#include <string.h>

/* Numbers equal texts alike; returns how many different ones there are. */
static int64_t number_texts(Arena *arena, const char *const *texts, int count, int64_t *numbers) {
  Map map;
  map_init(&map, arena);
  for (int i = 0; i < count; i++) {
    int64_t *number = map_get(&map, texts[i]);
    if (!number) {
      number = ARENA_NEW(arena, int64_t);
      *number = map.entries.count;
      map_set(&map, texts[i], number);
    }
    numbers[i] = *number;
  }
  return map.entries.count;
}

/* Dot products of unit rows are cosines, whatever the encoders give. */
static void scale_rows(float *rows, int64_t count, int64_t width) {
  for (int64_t i = 0; i < count; i++) {
    double square = 0;
    for (int64_t k = 0; k < width; k++)
      square += (double)rows[i * width + k] * rows[i * width + k];
    for (int64_t k = 0; k < width && square > 0; k++)
      rows[i * width + k] = (float)(rows[i * width + k] / __builtin_sqrt(square));
  }
}

static bool write_latents(const Eval *e, const float *texts, Error *error) {
  Type type = {DT_f32, 2, {e->dataset.count, e->zeroshot.image.width}};
  Tensor tensors[] = {{"image_latents", type, e->latents}, {"text_latents", type, (void *)texts}};
  return tensor_file_write(arena_printf(e->job->arena, "%s/latents.safetensors", e->out), tensors,
                           2, NULL, NULL, 0, error);
}

static void add_csv_rows(Text *csv, const char *counting, const RetrievalMetrics *m) {
  for (int direction = 0; direction < 2; direction++) {
    const RecallMetrics *d = direction ? &m->image_to_text : &m->text_to_image;
    for (int i = 0; i < m->n_k; i++) {
      text_add(csv, "%s,%s,%lld,%lld,%.9g", counting, direction ? "image_to_text" : "text_to_image",
               (long long)d->queries, (long long)m->k[i], d->recall[i]);
      if (m->bounds)
        text_add(csv, ",%.9g,%.9g", d->low[i], d->high[i]);
      text_add(csv, "\n");
    }
  }
}

/* The layout of the paper's Table 3, a row an encoder: recall of both directions at each k. */
static void add_paper_table(const Eval *e, Text *csv, const RetrievalMetrics *m) {
  text_add(csv, "encoder,variant");
  for (int direction = 0; direction < 2; direction++)
    for (int i = 0; i < m->n_k; i++)
      text_add(csv, ",%s R@%lld", direction ? "TR (text to image)" : "IR (image to text)",
               (long long)m->k[i]);
  text_add(csv, "\n%s,%s", e->job->plan->model, e->job->plan->variant);
  for (int direction = 0; direction < 2; direction++)
    for (int i = 0; i < m->n_k; i++)
      text_add(csv, ",%.4f", (direction ? &m->text_to_image : &m->image_to_text)->recall[i]);
  text_add(csv, "\n");
}

static bool write_results(Eval *e, const RetrievalMetrics *plain, const RetrievalMetrics *shared,
                          int64_t reports, Error *error) {
  Text json = {0}, table = {0}, csv = {0}, paper = {0};
  eval_json_head(e, &json, e->dataset.count);
  text_add(&json, ",\n  \"reports\": %lld,\n", (long long)reports);
  metrics_json_retrieval(&json, "retrieval", plain);
  text_add(&json, ",\n");
  metrics_json_retrieval(&json, "retrieval_shared_reports", shared);
  text_add(&json, "\n}\n");
  metrics_table_retrieval(&table, "every volume with a report of its own (values in percent)",
                          plain);
  text_add(&table, "\n");
  metrics_table_retrieval(&table, "volumes with the same report counted as one item", shared);
  text_add(&table, "\n%d volumes with %lld different reports; results in %s/\n", e->dataset.count,
           (long long)reports, e->out);
  text_add(&csv, "counting,direction,queries,k,recall%s\n", plain->bounds ? ",low,high" : "");
  add_csv_rows(&csv, "pairs", plain);
  add_csv_rows(&csv, "shared_reports", shared);
  add_paper_table(e, &paper, plain);
  bool good = eval_write(e, "retrieval.csv", &csv, error) &&
              eval_write(e, "retrieval-table.csv", &paper, error) &&
              report_retrieval(e, plain, shared, reports, error) &&
              eval_results(e, &json, &table, error);
  text_free(&json);
  text_free(&table);
  text_free(&csv);
  text_free(&paper);
  return good;
}

static bool read_ranks(const Job *job, RetrievalMetrics *m, Error *error) {
  const char *list = options_text(&job->options, "k");
  *m = (RetrievalMetrics){.n_k = 5, .k = {1, 5, 10, 50, 100}};
  bool good = !list || parse_list(list, m->k, MAX_RANKS, &m->n_k);
  for (int i = 0; good && i < m->n_k; i++)
    good = m->k[i] >= 1;
  return good || error_set(error, "--k: error: \"%.80s\" is not a list like 1,5,10", list);
}

bool eval_retrieval(Eval *e, Error *error) {
  int count = e->dataset.count;
  int64_t width = e->zeroshot.image.width;
  Arena *arena = e->job->arena;
  RetrievalMetrics plain, shared;
  if (!read_ranks(e->job, &plain, error))
    return false;
  shared = plain;
  float *texts = mem_alloc(sizeof(float) * (size_t)(count * width));
  int64_t *items = ARENA_ARRAY(arena, int64_t, count),
          *patients = ARENA_ARRAY(arena, int64_t, count);
  const char **reports = ARENA_ARRAY(arena, const char *, count);
  const char **names = ARENA_ARRAY(arena, const char *, count);
  for (int i = 0; i < count; i++) {
    reports[i] = e->dataset.samples[i].report;
    names[i] = e->dataset.samples[i].patient;
  }
  number_texts(arena, names, count, patients);
  int64_t different = number_texts(arena, reports, count, items);
  Retrieval pairs = {count, width, e->latents, texts, NULL, patients}, grouped = pairs;
  grouped.items = items;
  bool good = encode_texts(&e->zeroshot.text, e->zeroshot.pieces, reports, count, texts, error);
  if (good) {
    scale_rows(e->latents, count, width);
    scale_rows(texts, count, width);
  }
  good = good && write_latents(e, texts, error) &&
         metrics_retrieve(&pairs, e->replicates, e->seed, &plain, error) &&
         metrics_retrieve(&grouped, e->replicates, e->seed, &shared, error) &&
         write_results(e, &plain, &shared, different, error);
  free(texts);
  return good;
}
