/* The forms in which an entry point takes texts, and how texts get into them.
 *
 *   padded   input_ids and attention_mask [B,L]: every text a row of its own
 *   packed   input_ids, position_ids and segment_ids [R,L], text_starts [B]: texts share rows
 *            (runtime/data/text_pack.h)
 *
 * A program may hold the same entry point several times, specialised for several shapes: "NAME" and
 * "NAME.<anything>". Results do not depend on which of them a text goes through.
 */
#ifndef TRICOT_RUNTIME_JOB_TEXT_FORM_H
#define TRICOT_RUNTIME_JOB_TEXT_FORM_H
#include "runtime/data/text_pack.h"
#include "runtime/job/job.h"

typedef struct TextInput {
  void *data; /* NULL: the form has none */
  Type type;
} TextInput;

typedef struct TextForm {
  int entry;
  bool packed;
  int64_t batch;   /* texts at a time */
  int64_t longest; /* tokens of a text: of a row, and of the table of positions */
  TextShape shape;
  TextInput ids, mask, positions, segments, starts;
  /* room for placing texts, from the job's arena, so that a step allocates nothing */
  int32_t *tokens;   /* [batch] */
  TextPlace *places; /* [batch] */
  int64_t *values;   /* of the four packed inputs, one after the other; NULL: padded */
} TextForm;

enum { MAX_TEXT_FORMS = 8 }; /* of one entry point */

enum { SHORT_FORMS = 2, SHORT_BATCH = 8 };
extern const int64_t short_lengths[SHORT_FORMS]; /* tokens of a row, rising */

/* A number among a model's settings, or `otherwise`. */
typedef double SettingNumber(const void *context, const char *key, double otherwise);
/* Requests encode_text for texts of at most `longest` tokens (INT64_MAX: any). Prompts are a tenth
 * as long as reports, so beside the model's own form there are short rows, SHORT_BATCH texts at a
 * time, as far as they are shorter than the model's (the setting text.length). The longest form
 * that is needed is called encode_text, the others encode_text.LENGTH; the choice of a form for a
 * text does not depend on which longer ones are there. */
void text_forms_request(Arena *arena, JobRequest *request, SettingNumber *number,
                        const void *context, int64_t longest);

/* The text inputs of one entry point, checked. */
bool text_form_open(Job *job, int entry, TextForm *form, Error *error);
/* All forms of entry point `name`, at most `room` (NAME itself first); 0 and an error: none. */
int text_forms_open(Job *job, const char *name, TextForm *forms, int room, Error *error);
/* Fills the inputs with the first texts of a list, up to `batch` of them, [CLS] and [SEP] included;
 * returns how many, 0 when the first does not fit. What is left of the batch repeats the last. */
int64_t text_form_fill(const TextForm *form, const TokenIds *texts, int64_t count, int32_t padding);
/* How many text_form_fill would take. */
int64_t text_form_takes(const TextForm *form, const TokenIds *texts, int64_t count);
#endif
