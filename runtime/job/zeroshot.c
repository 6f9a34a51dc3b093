/* Zero-shot classification. See encode.h. */
#include "runtime/base/map.h"
#include "runtime/job/encode.h"
#include "runtime/job/text_form.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static const char *const usual_template[2] = {"{} is present.", "{} is not present."};

/* ---- what the settings say ---- */

static int label_column(const char *finding) {
  for (int c = 0; c < CTRATE_LABELS; c++)
    if (strcasecmp(finding, ctrate_label_names[c]) == 0)
      return c;
  return -1;
}

static bool read_findings(Zeroshot *z, const Json *list, Error *error) {
  const char *model = job_model(z->image.job);
  Arena *arena = z->image.job->arena;
  z->n_findings = list ? list->count : CTRATE_LABELS;
  if (z->n_findings == 0)
    return error_set(error, "setting findings of model %s: the list is empty", model);
  z->findings = ARENA_ARRAY(arena, const char *, z->n_findings);
  z->labels = ARENA_ARRAY(arena, int, z->n_findings);
  for (int i = 0; i < z->n_findings; i++) {
    if (list && (list->items[i].kind != JSON_STRING || !*list->items[i].string))
      return error_set(error, "setting findings of model %s: number %d is no text", model, i + 1);
    z->findings[i] = list ? list->items[i].string : ctrate_label_names[i];
    z->labels[i] = label_column(z->findings[i]);
    for (int k = 0; k < i; k++)
      if (strcasecmp(z->findings[i], z->findings[k]) == 0)
        return error_set(error, "setting findings of model %s: \"%.100s\" is there twice", model,
                         z->findings[i]);
  }
  return true;
}

static bool read_templates(Zeroshot *z, const Json *list, Error *error) {
  const char *model = job_model(z->image.job);
  z->n_templates = list ? list->count : 1;
  if (z->n_templates == 0)
    return error_set(error, "setting templates of model %s: the list is empty", model);
  z->templates = arena_alloc(z->image.job->arena, sizeof *z->templates * (size_t)z->n_templates);
  for (int i = 0; i < z->n_templates; i++) {
    const Json *pair = list ? &list->items[i] : NULL;
    if (pair && (pair->kind != JSON_LIST || pair->count != 2))
      return error_set(error,
                       "setting templates of model %s: number %d is not a pair [\"{} is "
                       "present.\", \"{} is not present.\"]",
                       model, i + 1);
    for (int side = 0; side < 2; side++) {
      z->templates[i][side] = pair ? pair->items[side].string : usual_template[side];
      if (pair &&
          (pair->items[side].kind != JSON_STRING || !strstr(pair->items[side].string, "{}")))
        return error_set(error,
                         "setting templates of model %s: number %d is not two texts with {} "
                         "where the finding belongs",
                         model, i + 1);
    }
  }
  return true;
}

bool zeroshot_settings(Zeroshot *z, Job *job, Error *error) {
  z->image.job = job;
  const Json *findings, *templates;
  const char *ensemble = job_setting(job, "ensemble");
  if (!job_setting_list(job, "findings", &findings, error) ||
      !job_setting_list(job, "templates", &templates, error) ||
      !read_findings(z, findings, error) || !read_templates(z, templates, error))
    return false;
  z->average_probabilities = ensemble && strcmp(ensemble, "probabilities") == 0;
  return z->average_probabilities || !ensemble || strcmp(ensemble, "latents") == 0 ||
         error_set(error, "setting ensemble of model %s is latents or probabilities, not \"%.80s\"",
                   job_model(job), ensemble);
}

/* ---- prompts ---- */

/* The template with the finding in place of every {}. */
static const char *fill_template(Arena *arena, const char *template, const char *finding) {
  Text text = {0};
  for (const char *hole; (hole = strstr(template, "{}")); template = hole + 2) {
    text_add_bytes(&text, template, (size_t)(hole - template));
    text_add(&text, "%s", finding);
  }
  text_add(&text, "%s", template);
  const char *filled = arena_strdup(arena, text.at);
  text_free(&text);
  return filled;
}

/* Adds a latent scaled to unit length. */
static void add_unit(double *sum, const float *latent, int64_t width) {
  double square = 0;
  for (int64_t i = 0; i < width; i++)
    square += (double)latent[i] * latent[i];
  for (int64_t i = 0; i < width && square > 0; i++)
    sum[i] += latent[i] / sqrt(square);
}

static int64_t prompt_count(const Zeroshot *z) {
  return 2 * (int64_t)z->n_findings * z->n_templates;
}

/* [findings][templates][present, absent] */
static const char **prompt_texts(const Zeroshot *z, Arena *arena) {
  const char **texts = ARENA_ARRAY(arena, const char *, prompt_count(z));
  for (int64_t i = 0; i < prompt_count(z); i++)
    texts[i] = fill_template(arena, z->templates[i / 2 % z->n_templates][i % 2],
                             z->findings[i / 2 / z->n_templates]);
  return texts;
}

bool zeroshot_refresh(Zeroshot *z, Error *error) {
  int64_t width = z->text.width, count = prompt_count(z);
  int directions = z->average_probabilities ? z->n_templates : 1;
  Arena *scratch = arena_new();
  const char **texts = prompt_texts(z, scratch);
  float *latents = ARENA_ARRAY(scratch, float, count *width);
  bool good = job_factor(z->image.job, &z->factor, error) &&
              encode_texts(&z->text, z->pieces, texts, count, latents, error);
  memset(z->prompts, 0, sizeof(double) * (size_t)(2 * z->n_findings * directions * width));
  for (int64_t i = 0; good && i < count; i++) {
    int64_t finding = i / 2 / z->n_templates;
    int64_t direction = z->average_probabilities ? i / 2 % z->n_templates : 0;
    add_unit(z->prompts + ((finding * directions + direction) * 2 + i % 2) * width,
             latents + i * width, width);
  }
  arena_free(scratch);
  return good;
}

/* ---- opening ---- */

/* What the settings and the vocabulary say, once. */
static bool look_up(Zeroshot *z, Job *job, Error *error) {
  if (!z->findings && !zeroshot_settings(z, job, error))
    return false;
  if (!z->pieces)
    z->pieces = job_open_vocabulary(job, error);
  return z->pieces != NULL;
}

static double number_of(const void *job, const char *key, double otherwise) {
  return job_number(job, key, otherwise);
}

bool zeroshot_request(Zeroshot *z, Job *job, bool reports, JobRequest *request, Error *error) {
  *z = (Zeroshot){0};
  bool known;
  int64_t longest = INT64_MAX;
  request->batches[request->n_entries] = 1;
  request->entries[request->n_entries++] = "encode_image";
  if (!job_look(job, &known, error))
    return false;
  if (known && !reports) {
    Arena *scratch = arena_new();
    bool good = look_up(z, job, error) && encode_longest(z->pieces, prompt_texts(z, scratch),
                                                         prompt_count(z), &longest, error);
    arena_free(scratch);
    if (!good)
      return false;
  }
  text_forms_request(job->arena, request, number_of, job, longest);
  return true;
}

bool zeroshot_uses(Zeroshot *z, Job *job, bool *used, Error *error) {
  TextForm forms[MAX_TEXT_FORMS];
  int count = text_forms_open(job, "encode_text", forms, MAX_TEXT_FORMS, error);
  if (!count || !look_up(z, job, error))
    return false;
  Arena *scratch = arena_new();
  int64_t longest, enough = INT64_MAX;
  bool good = encode_longest(z->pieces, prompt_texts(z, scratch), prompt_count(z), &longest, error);
  for (int i = 0; i < count; i++) /* padded rows that hold every prompt: none longer is chosen */
    if (!forms[i].packed && forms[i].longest >= longest && forms[i].shape.length < enough)
      enough = forms[i].shape.length;
  for (int i = 0; good && i < count; i++)
    used[forms[i].entry] = forms[i].packed || forms[i].shape.length <= enough;
  arena_free(scratch);
  return good;
}

bool zeroshot_attach(Zeroshot *z, Job *job, Error *error) {
  if (!encoder_open(&z->image, job, "encode_image", "image_latents", error) ||
      !encoder_open(&z->text, job, "encode_text", "text_latents", error))
    return false;
  if (z->image.width != z->text.width)
    return error_set(error, "model %s: image latents have %lld values, text latents %lld",
                     job->plan->model, (long long)z->image.width, (long long)z->text.width);
  if (!look_up(z, job, error))
    return false;
  int64_t directions = z->average_probabilities ? z->n_templates : 1;
  z->prompts = ARENA_ARRAY(job->arena, double, 2 * z->n_findings * directions * z->text.width);
  return zeroshot_refresh(z, error);
}

bool zeroshot_open(Zeroshot *z, Job *job, bool reports, Error *error) {
  JobRequest request = {.trained = true};
  return zeroshot_request(z, job, reports, &request, error) && job_open(job, &request, error) &&
         zeroshot_attach(z, job, error);
}

void zeroshot_close(Zeroshot *z) { wordpiece_free(z->pieces); }

/* ---- scores ---- */

static double cosine(const float *a, const double *b, int64_t width) {
  double dot = 0, aa = 0, bb = 0;
  for (int64_t i = 0; i < width; i++) {
    dot += (double)a[i] * b[i];
    aa += (double)a[i] * a[i];
    bb += b[i] * b[i];
  }
  double norm = sqrt(aa) * sqrt(bb);
  return norm > 0 ? dot / norm : 0;
}

void zeroshot_score(const Zeroshot *z, const float *latent, double *probabilities) {
  int64_t width = z->text.width;
  int directions = z->average_probabilities ? z->n_templates : 1;
  for (int f = 0; f < z->n_findings; f++) {
    double sum = 0;
    for (int d = 0; d < directions; d++) {
      const double *present = z->prompts + (int64_t)(f * directions + d) * 2 * width;
      double gap =
          z->factor * (cosine(latent, present + width, width) - cosine(latent, present, width));
      sum += 1 / (1 + exp(gap));
    }
    probabilities[f] = sum / directions;
  }
}

void labelled_take(Arena *arena, const Dataset *dataset, const double *probabilities,
                   int n_findings, const char *const *findings, const int *labels,
                   Labelled *labelled) {
  Predictions *p = &labelled->predictions;
  *labelled = (Labelled){.names = ARENA_ARRAY(arena, const char *, n_findings + 1),
                         .columns = ARENA_ARRAY(arena, int, n_findings + 1)};
  for (int f = 0; f < n_findings; f++)
    if (labels[f] >= 0) {
      labelled->names[p->classes] = findings[f];
      labelled->columns[p->classes++] = f;
    }
  int64_t room = (int64_t)dataset->count * p->classes + 1;
  double *scored = ARENA_ARRAY(arena, double, room);
  uint8_t *truth = ARENA_ARRAY(arena, uint8_t, room);
  int64_t *patients = ARENA_ARRAY(arena, int64_t, dataset->count + 1);
  Map numbers;
  map_init(&numbers, arena);
  for (int i = 0; i < dataset->count; i++) {
    const DatasetSample *sample = &dataset->samples[i];
    if (!sample->has_labels)
      continue;
    int64_t *number = map_get(&numbers, sample->patient);
    if (!number) {
      number = ARENA_NEW(arena, int64_t);
      *number = numbers.entries.count;
      map_set(&numbers, sample->patient, number);
    }
    patients[p->samples] = *number;
    for (int c = 0; c < p->classes; c++) {
      int64_t at = p->samples * p->classes + c;
      scored[at] = probabilities[(int64_t)i * n_findings + labelled->columns[c]];
      truth[at] = sample->labels[labels[labelled->columns[c]]];
    }
    p->samples++;
  }
  p->probabilities = scored;
  p->labels = truth;
  p->patients = patients;
}

bool zeroshot_evaluate(Zeroshot *z, const Dataset *dataset, OverallMetrics *overall, Error *error) {
  Arena *arena = arena_new();
  float *latents = ARENA_ARRAY(arena, float, dataset->count * z->image.width);
  double *probabilities = ARENA_ARRAY(arena, double, (int64_t)dataset->count * z->n_findings);
  bool good = zeroshot_refresh(z, error) && encode_volumes(&z->image, dataset, latents, error);
  for (int i = 0; good && i < dataset->count; i++)
    zeroshot_score(z, latents + i * z->image.width, probabilities + (int64_t)i * z->n_findings);
  if (good) {
    Labelled labelled;
    Error inner;
    labelled_take(arena, dataset, probabilities, z->n_findings, z->findings, z->labels, &labelled);
    ClassMetrics *classes = ARENA_ARRAY(arena, ClassMetrics, labelled.predictions.classes + 1);
    good = metrics_classify(&labelled.predictions, classes, overall, &inner) ||
           error_set(error, "zero-shot evaluation: %.900s", inner.text);
  }
  arena_free(arena);
  return good;
}
