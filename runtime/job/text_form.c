/* Texts into the inputs of entry points. See text_form.h. */
#include "runtime/job/text_form.h"
#include <stdlib.h>
#include <string.h>

static TextInput input_of(const Job *job, int entry, const char *name) {
  TextInput input;
  input.data = program_input(job->program, entry, name, &input.type);
  return input;
}

static bool same_matrix(const TextInput *input, const TextInput *ids) {
  return input->type.rank == 2 && input->type.dim[0] == ids->type.dim[0] &&
         input->type.dim[1] == ids->type.dim[1];
}

bool text_form_open(Job *job, int entry, TextForm *f, Error *error) {
  const char *name = job->plan->entries[entry].name;
  *f = (TextForm){.entry = entry,
                  .ids = input_of(job, entry, "input_ids"),
                  .mask = input_of(job, entry, "attention_mask"),
                  .positions = input_of(job, entry, "position_ids"),
                  .segments = input_of(job, entry, "segment_ids"),
                  .starts = input_of(job, entry, "text_starts")};
  f->packed = f->positions.data && f->segments.data && f->starts.data;
  if (!f->ids.data || !(f->packed || f->mask.data))
    return error_set(error,
                     "entry point %s of model %s takes neither \"input_ids\" with an "
                     "\"attention_mask\" nor packed texts",
                     name, job->plan->model);
  bool good = f->ids.type.rank == 2 && f->ids.type.dim[1] >= 2 &&
              (f->packed ? same_matrix(&f->positions, &f->ids) &&
                               same_matrix(&f->segments, &f->ids) && f->starts.type.rank == 1
                         : same_matrix(&f->mask, &f->ids));
  if (!good)
    return error_set(error,
                     "entry point %s takes input_ids and what goes with them in shapes that "
                     "do not fit each other",
                     name);
  f->shape = (TextShape){f->ids.type.dim[0], f->ids.type.dim[1]};
  f->longest = (int64_t)job_number(job, "text.positions", job_number(job, "positions", INT32_MAX));
  if (f->shape.length < f->longest)
    f->longest = f->shape.length;
  f->batch = f->packed ? f->starts.type.dim[0] : f->shape.rows;
  f->tokens = ARENA_ARRAY(job->arena, int32_t, f->batch);
  f->places = ARENA_ARRAY(job->arena, TextPlace, f->batch);
  if (f->packed)
    f->values = ARENA_ARRAY(job->arena, int64_t, 3 * f->shape.rows * f->shape.length + f->batch);
  return true;
}

/* ---- asking for forms ---- */

const int64_t short_lengths[SHORT_FORMS] = {32, 64};

static void request_text(JobRequest *request, const char *name, const char *sets, int64_t batch) {
  int i = request->n_entries++;
  CHECK(i < JOB_MAX_ENTRIES);
  request->entries[i] = "encode_text";
  request->names[i] = name;
  request->sets[i] = sets;
  request->optional_sets[i] = sets != NULL;
  request->batches[i] = batch;
}

void text_forms_request(Arena *arena, JobRequest *request, SettingNumber *number,
                        const void *context, int64_t longest) {
  double room = number(context, "text.length", 0);
  double positions = number(context, "text.positions", room);
  room = positions < room ? positions : room;
  const char *rows = number(context, "text.rows", 0) > 0 ? "text.rows=0;" : "";
  for (int i = 0; i < SHORT_FORMS && (double)short_lengths[i] < room; i++) {
    long long length = (long long)short_lengths[i];
    bool last = longest <= length;
    request_text(request, last ? NULL : arena_printf(arena, "encode_text.%lld", length),
                 arena_printf(arena, "%stext.length=%lld", rows, length), SHORT_BATCH);
    if (last)
      return;
  }
  request_text(request, NULL, NULL, 1);
}

/* ---- opening ---- */

int text_forms_open(Job *job, const char *name, TextForm *forms, int room, Error *error) {
  int first = program_entry(job->program, name), count = 0;
  size_t length = strlen(name);
  if (first < 0) {
    error_set(error, "model %s has no entry point \"%s\" here", job->plan->model, name);
    return 0;
  }
  if (!text_form_open(job, first, &forms[count++], error))
    return 0;
  for (int e = 0; e < job->plan->n_entries && count < room; e++) {
    const char *other = job->plan->entries[e].name;
    if (strncmp(other, name, length) == 0 && other[length] == '.' &&
        !text_form_open(job, e, &forms[count++], error))
      return 0;
  }
  return count;
}

static bool all_short(const TokenIds *texts, int64_t count, int64_t longest) {
  for (int64_t i = 0; i < count; i++)
    if (texts[i].count > longest)
      return false;
  return true;
}

/* Finds places for as many texts as fit, and how many; a text more can only need more rows. */
static int64_t place_texts(const TextForm *form, const TokenIds *texts, int64_t count) {
  int64_t taken = count < form->batch ? count : form->batch;
  for (int64_t i = 0; i < taken; i++)
    form->tokens[i] = texts[i].count;
  while (taken && !all_short(texts, taken, form->longest))
    taken--;
  for (; taken; taken--) {
    int64_t rows = text_place(form->tokens, taken, form->shape.length, form->places);
    if (rows && rows <= form->shape.rows)
      break;
  }
  return taken;
}

/* Padded: each text in a row of its own. */
static int64_t rows_of_texts(const TextForm *form, const TokenIds *texts, int64_t count) {
  int64_t taken = 0;
  while (taken < count && taken < form->batch && texts[taken].count <= form->longest)
    taken++;
  return taken;
}

int64_t text_form_takes(const TextForm *form, const TokenIds *texts, int64_t count) {
  return form->packed ? place_texts(form, texts, count) : rows_of_texts(form, texts, count);
}

static void store(const TextInput *input, const int64_t *values) {
  for (int64_t i = 0; i < type_elements(&input->type); i++)
    dtype_store(input->type.dtype, input->data, i, (double)values[i]);
}

static int64_t fill_packed(const TextForm *f, const TokenIds *texts, int64_t count,
                           int32_t padding) {
  int64_t cells = f->shape.rows * f->shape.length, *values = f->values;
  int64_t taken = place_texts(f, texts, count);
  text_fill(f->shape, texts, f->places, taken, f->batch, padding, values, values + cells,
            values + 2 * cells, values + 3 * cells);
  store(&f->ids, values);
  store(&f->positions, values + cells);
  store(&f->segments, values + 2 * cells);
  store(&f->starts, values + 3 * cells);
  return taken;
}

static int64_t fill_padded(const TextForm *f, const TokenIds *texts, int64_t count,
                           int32_t padding) {
  int64_t taken = rows_of_texts(f, texts, count), at = 0;
  for (int64_t row = 0; taken && row < f->batch; row++) {
    const TokenIds *text = &texts[row < taken ? row : taken - 1];
    for (int64_t k = 0; k < f->shape.length; k++, at++) {
      bool token = k < text->count;
      dtype_store(f->ids.type.dtype, f->ids.data, at, token ? text->at[k] : padding);
      dtype_store(f->mask.type.dtype, f->mask.data, at, token);
    }
  }
  return taken;
}

int64_t text_form_fill(const TextForm *form, const TokenIds *texts, int64_t count,
                       int32_t padding) {
  return form->packed ? fill_packed(form, texts, count, padding)
                      : fill_padded(form, texts, count, padding);
}
