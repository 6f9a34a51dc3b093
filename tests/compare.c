/* compare EXPECTED OUTPUTS [options]: two safetensors files, tensor by tensor.
 *
 *   --expected-prefix P  only tensors of EXPECTED whose names begin so
 *   --output-prefix P    what stands in OUTPUTS in place of that prefix
 *   --rtol R             limit of ||output - expected|| / ||expected|| (default 1e-4)
 *   --zero-atol A        limit of the largest difference where ||expected|| < 1e-9 (default 1e-6)
 *   --max-abs X          limit of the largest difference, instead of both
 *   --exclude REGEX      passes over names that match (POSIX extended)
 *   --all                prints every tensor, not only the bad ones
 *   --series FIRST:END   EXPECTED's one tensor of N numbers holds elements FIRST .. END-1 of what
 *                        OUTPUTS has as scalars; --output-prefix is then a name with %d in it
 *
 * A gradient that is zero in exact arithmetic is, in an expectation computed in double precision,
 * noise with a norm far below 1e-9: a relative error would mean nothing, so --zero-atol counts.
 * Exit status 0: all agree and there was something to compare; 1 otherwise; 2 wrong usage.
 */
#include "runtime/safetensors.h"
#include <math.h>
#include <regex.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct Request {
  const char *files[2];
  int n_files;
  const char *expected_prefix, *output_prefix;
  double rtol, zero_atol, max_abs; /* max_abs < 0: not given */
  regex_t exclude;
  bool has_exclude, all, series;
  long first, end;
} Request;

typedef struct Tally {
  int compared, bad;
  double worst;
  char worst_name[256];
} Tally;

typedef struct Gap {
  double error, limit;
  bool good;
} Gap;

static int usage(const char *problem, const char *word) {
  fprintf(stderr,
          "compare: error: %s%s\nusage: compare EXPECTED OUTPUTS [--expected-prefix P] "
          "[--output-prefix P] [--rtol R]\n  [--zero-atol A] [--max-abs X] [--exclude REGEX] "
          "[--all] [--series FIRST:END]\n",
          problem, word);
  return EXIT_USAGE;
}

static bool read_number(const char *text, double *value) {
  char *end;
  *value = strtod(text, &end);
  return end != text && !*end && *value >= 0;
}

/* An option with a value; false when it is unknown or its value is wrong. */
static bool read_option(Request *r, const char *name, const char *value) {
  if (strcmp(name, "--expected-prefix") == 0)
    r->expected_prefix = value;
  else if (strcmp(name, "--output-prefix") == 0)
    r->output_prefix = value;
  else if (strcmp(name, "--rtol") == 0)
    return read_number(value, &r->rtol);
  else if (strcmp(name, "--zero-atol") == 0)
    return read_number(value, &r->zero_atol);
  else if (strcmp(name, "--max-abs") == 0)
    return read_number(value, &r->max_abs);
  else if (strcmp(name, "--exclude") == 0)
    return r->has_exclude = regcomp(&r->exclude, value, REG_EXTENDED | REG_NOSUB) == 0;
  else if (strcmp(name, "--series") == 0)
    return r->series = sscanf(value, "%ld:%ld", &r->first, &r->end) == 2 && r->first >= 0;
  else
    return false;
  return true;
}

/* The distance of two tensors of the same number of elements. */
static Gap measure(const Request *r, const Tensor *expected, const Tensor *output) {
  double norm = 0, distance = 0, peak = 0;
  for (int64_t i = 0; i < type_elements(&expected->type); i++) {
    double e = dtype_load(expected->type.dtype, expected->data, i);
    double d = fabs(dtype_load(output->type.dtype, output->data, i) - e);
    norm += e * e;
    distance += d * d;
    if (!(d <= peak)) /* also takes up a difference that is no number */
      peak = d;
  }
  norm = sqrt(norm);
  distance = sqrt(distance);
  Gap gap;
  if (r->max_abs >= 0)
    gap = (Gap){.error = peak, .limit = r->max_abs};
  else if (norm > 1e-9)
    gap = (Gap){.error = distance / norm, .limit = r->rtol};
  else
    gap = (Gap){.error = peak, .limit = r->zero_atol};
  gap.good = isfinite(distance) && gap.error <= gap.limit;
  return gap;
}

static void note(const Request *r, Tally *tally, const char *name, const Type *type, Gap gap) {
  tally->bad += !gap.good;
  if (!gap.good || r->all)
    printf("%s %9.2e (limit %.1e)  %s %s\n", gap.good ? "ok " : "BAD", gap.error, gap.limit, name,
           type_text(type));
  if (!(gap.error <= tally->worst)) {
    tally->worst = gap.error;
    snprintf(tally->worst_name, sizeof tally->worst_name, "%s", name);
  }
}

/* Same dimensions; a single element may come with any number of them. */
static bool same_shape(const Type *a, const Type *b) {
  if (type_elements(a) == 1 && type_elements(b) == 1)
    return true;
  if (a->rank != b->rank)
    return false;
  for (int i = 0; i < a->rank; i++)
    if (a->dim[i] != b->dim[i])
      return false;
  return true;
}

static void compare_one(const Request *r, const Tensor *expected, const TensorFile *outputs,
                        const char *name, Tally *tally) {
  const Tensor *output = tensor_file_find(outputs, name);
  tally->compared++;
  if (!output) {
    printf("missing    %s\n", name);
    tally->bad++;
  } else if (!same_shape(&expected->type, &output->type)) {
    printf("shape      %s: %s", name, type_text(&output->type));
    printf(", expected %s\n", type_text(&expected->type));
    tally->bad++;
  } else {
    note(r, tally, name, &expected->type, measure(r, expected, output));
  }
}

static void compare_files(const Request *r, const TensorFile *expected, const TensorFile *outputs,
                          Tally *tally) {
  size_t skip = strlen(r->expected_prefix);
  for (int i = 0; i < expected->count; i++) {
    const Tensor *tensor = &expected->tensors[i];
    char name[512];
    if (strncmp(tensor->name, r->expected_prefix, skip) != 0 ||
        (r->has_exclude && regexec(&r->exclude, tensor->name, 0, NULL, 0) == 0))
      continue;
    snprintf(name, sizeof name, "%s%s", r->output_prefix, tensor->name + skip);
    compare_one(r, tensor, outputs, name, tally);
  }
}

/* One tensor of numbers against as many scalars. */
static void compare_series(const Request *r, const TensorFile *expected, const TensorFile *outputs,
                           Tally *tally) {
  const char *hole = strstr(r->output_prefix, "%d");
  const Tensor *all = expected->count == 1 ? &expected->tensors[0] : NULL;
  if (!hole || !all || r->end > type_elements(&all->type)) {
    printf("series     needs one tensor with %ld elements and %%d in the output's name\n", r->end);
    tally->bad++;
    return;
  }
  size_t size = dtype_size(all->type.dtype);
  for (long i = r->first; i < r->end; i++) {
    char name[512];
    Tensor element = {all->name, {.dtype = all->type.dtype}, (char *)all->data + size * (size_t)i};
    snprintf(name, sizeof name, "%.*s%ld%s", (int)(hole - r->output_prefix), r->output_prefix, i,
             hole + 2);
    compare_one(r, &element, outputs, name, tally);
  }
}

static int run(const Request *r) {
  TensorFile expected, outputs;
  Error error;
  if (!tensor_file_open(&expected, r->files[0], &error)) {
    fprintf(stderr, "%s\n", error.text);
    return EXIT_INPUT;
  }
  if (!tensor_file_open(&outputs, r->files[1], &error)) {
    fprintf(stderr, "%s\n", error.text);
    tensor_file_close(&expected);
    return EXIT_INPUT;
  }
  Tally tally = {.worst_name = "-"};
  if (r->series)
    compare_series(r, &expected, &outputs, &tally);
  else
    compare_files(r, &expected, &outputs, &tally);
  printf("%d compared, %d bad, worst %.2e (%s)\n", tally.compared, tally.bad, tally.worst,
         tally.worst_name);
  tensor_file_close(&expected);
  tensor_file_close(&outputs);
  return tally.bad || !tally.compared ? EXIT_INPUT : EXIT_DONE;
}

int main(int argc, char **argv) {
  Request r = {.expected_prefix = "", .output_prefix = "", .rtol = 1e-4, .zero_atol = 1e-6,
               .max_abs = -1};
  for (int i = 1; i < argc; i++) {
    if (strcmp(argv[i], "--all") == 0) {
      r.all = true;
    } else if (strncmp(argv[i], "--", 2) == 0) {
      if (i + 1 == argc || !read_option(&r, argv[i], argv[i + 1]))
        return usage("unknown option or wrong value: ", argv[i]);
      i++;
    } else {
      if (r.n_files == 2)
        return usage("more than two files: ", argv[i]);
      r.files[r.n_files++] = argv[i];
    }
  }
  if (r.n_files < 2)
    return usage("two files are needed", "");
  int status = run(&r);
  if (r.has_exclude)
    regfree(&r.exclude);
  return status;
}
