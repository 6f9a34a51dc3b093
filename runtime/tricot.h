/* A compiled model as a library: open it, fill inputs, run an entry point, read outputs.
 *
 *   char error[512];
 *   tricot_model *model = tricot_open("weights.safetensors", 0, error, sizeof error);
 *   float *volume = tricot_input(model, "encode_image", "volume");
 *   ... fill tricot_tensor_type(...) elements ...
 *   if (!tricot_run(model, "encode_image", error, sizeof error)) ...
 *   const float *latents = tricot_output(model, "encode_image", "image_latents");
 *
 * A model is used by one thread at a time; it brings its own workers. Tensors are dense, the last
 * dimension fastest. Errors are sentences, cut to `room` bytes. For research use only, not for
 * diagnosis.
 */
#ifndef TRICOT_H
#define TRICOT_H
#include <stddef.h>
#include <stdint.h>
#ifdef __cplusplus
extern "C" {
#endif

enum { TRICOT_MAX_RANK = 8 };
typedef struct tricot_model tricot_model;

typedef struct tricot_type {
  const char *element; /* "f32", "i64", ... */
  int rank;
  int64_t dim[TRICOT_MAX_RANK];
  size_t bytes; /* of the whole tensor */
} tricot_type;

/* weights: a safetensors file; NULL: those inside the library (an error when there are none).
 * threads: 0 for one per allowed CPU. NULL on failure. */
tricot_model *tricot_open(const char *weights, int threads, char *error, size_t room);
/* The same where `target` says: "cpu" (the best level this processor can run), "cpu:x86-64-v3",
 * "cuda" (the first CUDA device), "cuda:1", "auto" (a CUDA device if there is one that this library
 * has code for, else cpu). NULL: cpu, or cuda in a library without code for processors. */
tricot_model *tricot_open_on(const char *target, const char *weights, int threads, char *error,
                             size_t room);
void tricot_close(tricot_model *model); /* NULL is fine */

/* Where it runs: "cpu:x86-64-v4", "cuda:0 (NVIDIA H200), its code for sm_90a". */
const char *tricot_where(const tricot_model *model);

/* Names by number, NULL behind the last. */
const char *tricot_entry_name(const tricot_model *model, int entry);
const char *tricot_input_name(const tricot_model *model, const char *entry, int input);
const char *tricot_output_name(const tricot_model *model, const char *entry, int output);

/* Copies a whole tensor into an input; 0 when there is none of that name, else 1. */
int tricot_fill(tricot_model *model, const char *entry, const char *name, const void *tensor);
/* Storage of an input, to fill before a run, or of an output, valid until the next run. NULL when
 * there is none of that name (or no memory for it). Of an input that the model does not read as a
 * whole, such as a volume, only a part is kept: then this is memory beside the model's from which
 * every run copies; tricot_fill does without. */
void *tricot_input(tricot_model *model, const char *entry, const char *name);
const void *tricot_output(tricot_model *model, const char *entry, const char *name);
/* The type of an input or output; 0 when there is none of that name, else 1. */
int tricot_tensor_type(tricot_model *model, const char *entry, const char *name, tricot_type *type);

/* 1 when it ran, 0 and an error otherwise. */
int tricot_run(tricot_model *model, const char *entry, char *error, size_t room);

#ifdef __cplusplus
}
#endif
#endif
