/* What kernels need on CUDA architectures. See cuda_report.h. */
#include "driver/cuda_report.h"
#include "runtime/base/json.h"
#include <string.h>

enum { HOT_SHARE = 100 };

static CudaKernel *find_kernel(CudaReport *report, int number) {
  for (int i = 0; i < report->count; i++)
    if (report->kernels[i].number == number)
      return &report->kernels[i];
  CudaKernel *k = &report->kernels[report->count++];
  *k = (CudaKernel){.number = number};
  return k;
}

/* Adds an entry point's steps, or those that run once ahead of it. */
static void add_steps(CudaReport *report, const PlanStep *steps, int count, bool every_time) {
  double flops = 0, traffic = 0;
  for (int i = 0; i < count; i++) {
    flops += steps[i].flops;
    traffic += steps[i].traffic;
  }
  for (int i = 0; i < count; i++) {
    const PlanStep *s = &steps[i];
    if (s->kind != STEP_KERNEL)
      continue;
    CudaKernel *k = find_kernel(report, s->kernel);
    if (!k->step)
      k->step = s;
    k->flops += s->flops;
    k->traffic += s->traffic;
    k->hot |= every_time && (s->flops * HOT_SHARE >= flops || s->traffic * HOT_SHARE >= traffic);
  }
}

static bool read_use(Compiled *c, const CudaImage *image, CudaKernel *k, CudaUse *use,
                     Error *error) {
  const char *name = c->plan.kernels[k->number];
  Cubin cubin = {.bytes = (unsigned char *)image->data, .size = image->size};
  if (!cubin_resources(&cubin, name, &use->code, error))
    return false;
  use->shared_bytes = use->code.shared_bytes + k->step->shared_bytes;
  int64_t ours = image->arch.capability >= 90 && use->code.shared_bytes >= 1024
                     ? use->shared_bytes - 1024 /* the system's, which is counted apart */
                     : use->shared_bytes;
  use->blocks = cuda_blocks_held(image->arch, k->step->threads, use->code.registers, ours);
  return true;
}

bool cuda_report(Compiled *c, const CudaImage *images, int n, CudaReport *report, Error *error) {
  CudaArch *archs = ARENA_ARRAY(c->arena, CudaArch, n);
  for (int a = 0; a < n; a++)
    archs[a] = images[a].arch;
  *report = (CudaReport){.n_archs = n,
                         .archs = archs,
                         .kernels = ARENA_ARRAY(c->arena, CudaKernel, c->plan.n_kernels + 1)};
  for (int e = 0; e < c->plan.n_entries; e++) {
    add_steps(report, c->plan.entries[e].steps, c->plan.entries[e].n_steps, true);
    add_steps(report, c->plan.entries[e].prepare, c->plan.entries[e].n_prepare, false);
  }
  for (int i = 0; i < report->count; i++) {
    report->kernels[i].uses = ARENA_ARRAY(c->arena, CudaUse, n);
    for (int a = 0; a < n; a++)
      if (!read_use(c, &images[a], &report->kernels[i], &report->kernels[i].uses[a], error))
        return false;
  }
  return true;
}

int cuda_report_warn(const Compiled *c, const CudaReport *report, FILE *out) {
  int count = 0;
  for (int i = 0; i < report->count; i++)
    for (int a = 0; a < report->n_archs; a++) {
      const CudaKernel *k = &report->kernels[i];
      char arch[CUDA_ARCH_TEXT];
      if (!k->hot || !k->uses[a].code.local_bytes)
        continue;
      fprintf(out, "warning: kernel %s (%s%s%s) keeps %lld bytes a thread in memory on %s\n",
              c->plan.kernels[k->number], k->step->place, *k->step->place ? ", " : "",
              k->step->label, (long long)k->uses[a].code.local_bytes,
              cuda_arch_text(report->archs[a], false, arch));
      count++;
    }
  return count;
}

const char *cuda_report_words(Arena *arena, const CudaReport *report, int number, int arch) {
  for (int i = 0; i < report->count; i++) {
    const CudaUse *use = &report->kernels[i].uses[arch];
    if (report->kernels[i].number != number)
      continue;
    const char *words = arena_printf(
        arena, "%d registers, %lld B a thread in memory, %lld B shared", use->code.registers,
        (long long)use->code.local_bytes, (long long)use->shared_bytes);
    return use->blocks ? arena_printf(arena, "%s, %d blocks a multiprocessor", words, use->blocks)
                       : words;
  }
  return NULL;
}

void cuda_report_table(const Compiled *c, const CudaReport *report, Text *out) {
  char arch[CUDA_ARCH_TEXT];
  text_add(out, "%-28s %7s", "kernel", "threads");
  for (int a = 0; a < report->n_archs; a++)
    text_add(out, " | %-8s regs spill shared blocks",
             cuda_arch_text(report->archs[a], false, arch));
  text_add(out, " | hot place, ops\n");
  for (int i = 0; i < report->count; i++) {
    const CudaKernel *k = &report->kernels[i];
    text_add(out, "%-28.28s %7d", c->plan.kernels[k->number], k->step->threads);
    for (int a = 0; a < report->n_archs; a++) {
      const CudaUse *use = &k->uses[a];
      text_add(out, " | %8s %4d %5lld %6lld", "", use->code.registers,
               (long long)use->code.local_bytes, (long long)use->shared_bytes);
      if (use->blocks)
        text_add(out, " %6d", use->blocks);
      else
        text_add(out, " %6s", "-");
    }
    text_add(out, " | %-3s %s%s%.50s\n", k->hot ? "yes" : "", k->step->place,
             *k->step->place ? ", " : "", k->step->label);
  }
  text_add(out,
           "\nspill: bytes a thread keeps in memory; shared: bytes of a block; blocks: that a "
           "multiprocessor holds.\nhot: a hundredth of the entry point's operations or bytes.\n");
}

void cuda_report_json(const Compiled *c, const CudaReport *report, Text *out) {
  char arch[CUDA_ARCH_TEXT];
  text_add(out, "{\"kernels\": [");
  for (int i = 0; i < report->count; i++) {
    const CudaKernel *k = &report->kernels[i];
    text_add(out, "%s\n  {\"kernel\": ", i ? "," : "");
    json_add_string(out, c->plan.kernels[k->number]);
    text_add(out, ", \"place\": ");
    json_add_string(out, k->step->place);
    text_add(out, ", \"ops\": ");
    json_add_string(out, k->step->label);
    text_add(out, ", \"threads\": %d, \"hot\": %s, \"flops\": %.6g, \"bytes\": %.6g, \"on\": {",
             k->step->threads, k->hot ? "true" : "false", k->flops, k->traffic);
    for (int a = 0; a < report->n_archs; a++) {
      const CudaUse *use = &k->uses[a];
      text_add(out,
               "%s\"%s\": {\"registers\": %d, \"spill_bytes\": %lld, \"shared_bytes\": %lld, "
               "\"blocks\": ",
               a ? ", " : "", cuda_arch_text(report->archs[a], false, arch), use->code.registers,
               (long long)use->code.local_bytes, (long long)use->shared_bytes);
      if (use->blocks)
        text_add(out, "%d}", use->blocks);
      else
        text_add(out, "null}");
    }
    text_add(out, "}}");
  }
  text_add(out, "\n]}\n");
}
