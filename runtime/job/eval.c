/* eval: zero-shot classification, retrieval and linear probes on a data set. See eval.h. */
#include "runtime/job/eval.h"
#include "runtime/base/map.h"
#include "runtime/job/command.h"
#include "runtime/job/ports.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static const struct Kind {
  const char *name;
  bool texts, reports; /* needs the text encoder; for more than prompts */
  bool (*run)(Eval *eval, Error *error);
} kinds[] = {{"zeroshot", true, false, eval_zeroshot},
             {"retrieval", true, true, eval_retrieval},
             {"probe", false, false, eval_probe}};
enum { N_KINDS = sizeof kinds / sizeof *kinds };

bool eval_write(const Eval *e, const char *name, const Text *text, Error *error) {
  return command_output(arena_printf(e->job->arena, "%s/%s", e->out, name), text, error);
}

void eval_json_head(const Eval *e, Text *json, int64_t scored) {
  const char *weights = options_text(&e->job->options, "weights");
  if (!weights)
    weights = options_text(&e->job->options, "checkpoint");
  text_add(json,
           "{\n  \"notice\": \"For research use only. Not for diagnosis.\",\n"
           "  \"evaluation\": \"%s\",\n  \"model\": ",
           e->kind);
  json_add_string(json, e->job->plan->model);
  text_add(json, ",\n  \"variant\": ");
  json_add_string(json, e->job->plan->variant);
  text_add(json, ",\n  \"weights\": ");
  json_add_string(json, weights ? weights : "");
  text_add(json, ",\n  \"weights_fingerprint\": \"%016" PRIx64 "\",\n  \"split\": ", e->weights);
  json_add_string(json, e->split);
  text_add(json, ",\n  \"volumes\": %d,\n  \"scored\": %lld", e->dataset.count, (long long)scored);
  if (e->replicates)
    text_add(json,
             ",\n  \"bootstrap\": {\"replicates\": %lld, \"seed\": %llu, \"unit\": "
             "\"patient\"}",
             (long long)e->replicates, (unsigned long long)e->seed);
}

bool eval_results(const Eval *e, const Text *json, const Text *table, Error *error) {
  return eval_write(e, arena_printf(e->job->arena, "%s.json", e->kind), json, error) &&
         command_output(NULL, options_flag(&e->job->options, "json") ? json : table, error);
}

void eval_image_cost(const Eval *e, double *parameters, double *gflops) {
  const Plan *plan = e->job->plan;
  const PlanEntry *entry = &plan->entries[e->zeroshot.image.entry];
  bool *used = mem_alloc((size_t)plan->n_tensors + 1);
  *parameters = *gflops = 0;
  for (int part = 0; part < 2; part++)
    for (int s = 0; s < (part ? entry->n_steps : entry->n_prepare); s++) {
      const PlanStep *step = part ? &entry->steps[s] : &entry->prepare[s];
      *gflops += part ? 1e-9 * step->flops / (double)e->zeroshot.image.batch : 0;
      for (int a = 0; a < step->n_args; a++)
        if (step->args[a].place == PLACE_PERSISTENT)
          used[step->args[a].at] = true;
    }
  for (int t = 0; t < plan->n_tensors; t++)
    if (used[t] && plan->tensors[t].role == PLAN_PARAMETER)
      *parameters += 1e-6 * (double)type_elements(&plan->tensors[t].type);
  free(used);
}

/* ---- latents made once ---- */

bool eval_fingerprint(Eval *e, Error *error) {
  static const char *const passed_over[] = {"findings", "templates", "ensemble", "batch"};
  const Job *job = e->job;
  const char *path = options_text(&job->options, "weights");
  Mapping file = {job->host->weights, job->host->weights_size};
  path = path ? path : options_text(&job->options, "checkpoint");
  if (path && !file_map(path, &file, error))
    return false;
  e->weights = file.size ? hash_bytes(file.bytes, file.size, 0)
                         : (uint64_t)options_count(&job->options, "seed", 0);
  if (path)
    file_unmap(&file);
  for (int i = 0; i < job->plan->n_settings; i++) {
    const PlanPair *pair = &job->plan->settings[i];
    const char *name = strrchr(pair->key, '.') ? strrchr(pair->key, '.') + 1 : pair->key;
    bool counts = true;
    for (size_t k = 0; k < sizeof passed_over / sizeof *passed_over; k++)
      counts &= strcmp(name, passed_over[k]) != 0;
    if (!counts)
      continue;
    e->weights = hash_bytes(pair->key, strlen(pair->key), e->weights);
    e->weights = hash_bytes(pair->value, strlen(pair->value), e->weights);
  }
  return true;
}

/* Which volumes, how prepared: their names and the cache's manifest. */
static uint64_t data_fingerprint(const Eval *e, const Dataset *dataset) {
  const char *cache = options_text(&e->job->options, "cache");
  uint64_t hash = (uint64_t)dataset->count;
  Mapping manifest;
  for (int i = 0; i < dataset->count; i++)
    hash = hash_bytes(dataset->samples[i].volume, strlen(dataset->samples[i].volume), hash);
  if (file_map(arena_printf(e->job->arena, "%s/manifest.json", cache), &manifest, NULL)) {
    hash = hash_bytes(manifest.bytes, manifest.size, hash);
    file_unmap(&manifest);
  }
  return hash;
}

static const char *metadata_of(const TensorFile *file, const char *key) {
  for (int i = 0; i < file->n_metadata; i++)
    if (strcmp(file->metadata_keys[i], key) == 0)
      return file->metadata_values[i];
  return "";
}

static bool load_latents(const char *path, const char *made_of, const Type *type, float *latents) {
  TensorFile file;
  if (!tensor_file_open(&file, path, NULL))
    return false;
  const Tensor *tensor = tensor_file_find(&file, "image_latents");
  bool good = tensor && tensor->type.dtype == DT_f32 && tensor->type.rank == 2 &&
              tensor->type.dim[0] == type->dim[0] && tensor->type.dim[1] == type->dim[1] &&
              strcmp(metadata_of(&file, "made_of"), made_of) == 0;
  if (good)
    memcpy(latents, tensor->data, type_bytes(type));
  tensor_file_close(&file);
  return good;
}

bool eval_latents(Eval *e, const Dataset *dataset, const char *split, float **latents,
                  Error *error) {
  const Encoder *image = &e->zeroshot.image;
  Arena *arena = e->job->arena;
  Type type = {DT_f32, 2, {dataset->count, image->width}};
  *latents = mem_alloc(type_bytes(&type) + 1);
  const char *path = arena_printf(arena, "%s/latents-%s.safetensors", e->out, split);
  const char *made_of = arena_printf(
      arena, "weights %016" PRIx64 ", volumes %016" PRIx64 ", %s, code for %s", e->weights,
      data_fingerprint(e, dataset), e->job->plan->model, e->job->plan->level);
  /* a tree may have changed behind the cache, so only the manifest of a cache is believed */
  if (!options_text(&e->job->options, "data") && load_latents(path, made_of, &type, *latents)) {
    fprintf(stderr, "eval: latents of split %s taken from %s\n", split, path);
    return true;
  }
  Tensor tensor = {"image_latents", type, *latents};
  const char *key = "made_of";
  return encode_volumes(image, dataset, *latents, error) &&
         tensor_file_write(path, &tensor, 1, &key, &made_of, 1, error);
}

/* ---- the verb ---- */

static bool open_data(Eval *e, Error *error) {
  VolumePort port;
  return volume_port(e->job, e->zeroshot.image.entry, &port, error) &&
         job_dataset(e->job, "valid", port.size, &e->dataset, error);
}

static bool check_options(Eval *e, const struct Kind *kind, Error *error) {
  const Options *o = &e->job->options;
  e->kind = kind->name;
  e->out = job_need(e->job, "out", error);
  if (!e->out || !job_need(e->job, "cache", error) ||
      (kind->texts && !job_need(e->job, "vocab", error)))
    return false;
  e->split = options_text(o, "split") ? options_text(o, "split") : "valid";
  e->replicates = options_count(o, "bootstrap", 1000);
  e->seed = (uint64_t)options_count(o, "seed", 0);
  if (e->replicates > MAX_REPLICATES)
    return error_set(error, "--bootstrap: at most %d", MAX_REPLICATES);
  if (strcmp(kind->name, "probe") != 0 && options_flag(o, "as-published"))
    return error_set(error, "--as-published is for eval probe");
  return true;
}

int verb_eval(Job *job) {
  Error error = {""};
  Eval e = {.job = job};
  const char *word = job->n_rest == 1 ? job->rest[0] : "";
  const struct Kind *kind = NULL;
  for (int i = 0; i < N_KINDS; i++)
    if (strcmp(kinds[i].name, word) == 0)
      kind = &kinds[i];
  if (!kind)
    error_set(&error, "what to evaluate is zeroshot, retrieval or probe%s%.60s%s",
              *word ? ", not \"" : "", word, *word ? "\"" : "");
  if (!kind || !check_options(&e, kind, &error))
    return job_usage(job, &error);
  bool good = make_folders(e.out, &error);
  if (good && kind->texts) {
    good = zeroshot_open(&e.zeroshot, job, kind->reports, &error) && open_data(&e, &error) &&
           eval_fingerprint(&e, &error) &&
           eval_latents(&e, &e.dataset, e.split, &e.latents, &error);
  }
  good = good && kind->run(&e, &error);
  free(e.latents);
  dataset_close(&e.dataset);
  zeroshot_close(&e.zeroshot);
  return good ? EXIT_DONE : job_failed(&error);
}
