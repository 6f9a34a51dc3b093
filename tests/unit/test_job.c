/* The job's verbs on a model that can be checked by hand (fake_clip.h), a made-up data set and a
 * vocabulary of 16 words. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

/* after what it leans on */
#include <cmocka.h>

#include "runtime/base/file.h"
#include "tests/unit/job_world.h"

static void write_file(const char *name, const Tensor *tensors, int count) {
  Error error;
  assert_true(tensor_file_write(in_folder(name), tensors, count, NULL, NULL, 0, &error));
}

static void open_file(TensorFile *file, const char *name) {
  Error error;
  if (!tensor_file_open(file, in_folder(name), &error))
    fail_msg("%s", error.text);
}

static const float *values(const TensorFile *file, const char *name) {
  const Tensor *tensor = tensor_file_find(file, name);
  if (!tensor)
    fail_msg("no tensor %s", name);
  return tensor->data;
}

static float volumes3[3 * FAKE_VOXELS];
static int64_t ids3[3 * FAKE_TOKENS], mask3[3 * FAKE_TOKENS];
static Tensor inputs3[] = {{"volume", {DT_f32, 5, {3, 1, 2, 2, 2}}, volumes3},
                           {"input_ids", {DT_i64, 2, {3, FAKE_TOKENS}}, ids3},
                           {"attention_mask", {DT_i64, 2, {3, FAKE_TOKENS}}, mask3}};

static void fill_inputs3(void) {
  for (int i = 0; i < 3 * FAKE_VOXELS; i++)
    volumes3[i] = voxel(i / FAKE_VOXELS, i % FAKE_VOXELS);
  for (int i = 0; i < 3 * FAKE_TOKENS; i++) {
    ids3[i] = i * 5 % FAKE_WORDS;
    mask3[i] = i % FAKE_TOKENS < 4;
  }
}

/* ---- run ---- */

static void run_forward(void **state) {
  (void)state;
  fill_inputs3();
  write_file("in3", inputs3, 3);
  runs("run --entry encode_image --inputs @in3 --outputs @out --seed 5 --threads 2");
  assert_int_equal(last_request.threads, 2);
  assert_string_equal(last_request.entries[0], "encode_image");
  TensorFile out;
  open_file(&out, "out");
  assert_int_equal(out.count, 1);
  assert_int_equal(out.tensors[0].type.dim[0], 3); /* the program takes one at a time */
  Program *own;
  Error error;
  assert_true(program_open(&own, &fake_plan, fake_lookup, NULL, 1, &error));
  program_initialize(own, 5);
  float expected[3 * FAKE_WIDTH];
  void *arguments[] = {volumes3, program_tensor(own, "image.weight", NULL), expected};
  fake_image(arguments, 0, 3);
  assert_memory_equal(values(&out, "image_latents"), expected, sizeof expected);
  tensor_file_close(&out);

  /* weights from a file instead of the seed; inputs converted from f64 and i32 */
  Tensor tensors[4];
  assert_int_equal(program_tensors(own, false, tensors, 4), 3);
  write_file("weights", tensors, 3);
  double wide[3 * FAKE_VOXELS];
  for (int i = 0; i < 3 * FAKE_VOXELS; i++)
    wide[i] = volumes3[i];
  Tensor input = {"volume", {DT_f64, 5, {3, 1, 2, 2, 2}}, wide};
  write_file("wide", &input, 1);
  runs("run --entry encode_image --inputs @wide --outputs @out --weights @weights");
  open_file(&out, "out");
  assert_memory_equal(values(&out, "image_latents"), expected, sizeof expected);
  tensor_file_close(&out);
  int32_t narrow[FAKE_TOKENS];
  for (int i = 0; i < FAKE_TOKENS; i++)
    narrow[i] = (int32_t)ids3[i];
  Tensor texts[] = {{"input_ids", {DT_i32, 2, {1, FAKE_TOKENS}}, narrow},
                    {"attention_mask", {DT_i64, 2, {1, FAKE_TOKENS}}, mask3}};
  write_file("text", texts, 2);
  runs("run --entry encode_text --inputs @text --outputs @out --checkpoint @weights");
  open_file(&out, "out");
  void *text_arguments[] = {ids3, mask3, program_tensor(own, "text.table", NULL), expected};
  fake_text(text_arguments, 0, 1);
  assert_memory_equal(values(&out, "text_latents"), expected, FAKE_WIDTH * sizeof(float));
  tensor_file_close(&out);
  program_close(own);
}

static void run_refuses(void **state) {
  (void)state;
  fill_inputs3();
  Tensor bad[3];
  memcpy(bad, inputs3, sizeof bad);
  bad[0].type.dim[4] = 1;
  write_file("bad", bad, 3);
  fails("run --entry encode_image --inputs @bad --outputs @none", EXIT_INPUT,
        "input \"volume\" is f32[3,1,2,2,1], entry point encode_image of this program takes "
        "f32[1,1,2,2,2]");
  assert_int_not_equal(access(in_folder("none"), F_OK), 0);
  ids3[7] = 16;
  write_file("bad", inputs3, 3);
  fails("run --entry train_step --inputs @bad --outputs @none", EXIT_INPUT,
        "input_ids[1,1] is 16, it must be an id of the vocabulary, 0 to 15");
  ids3[7] = -1;
  write_file("bad", inputs3, 3);
  fails("run --entry encode_text --inputs @bad --outputs @none", EXIT_INPUT, "[1,1] is -1");
  fill_inputs3();
  mask3[0] = 2;
  write_file("bad", inputs3, 3);
  fails("run --entry encode_text --inputs @bad --outputs @none", EXIT_INPUT,
        "attention_mask[0,0] is 2, it must be 0 or 1");
  fill_inputs3();
  write_file("bad", inputs3, 2);
  fails("run --entry train_step --inputs @bad --outputs @none", EXIT_INPUT,
        "input \"attention_mask\" (i64[2,6]) of entry point train_step is missing");
  memcpy(bad, inputs3, sizeof bad);
  bad[1].type.dim[0] = 2;
  write_file("bad", bad, 3);
  fails("run --entry train_step --inputs @bad --outputs @none", EXIT_INPUT,
        "\"volume\" has 3 samples but \"input_ids\" has 2");
  bad[1] = (Tensor){"input_ids", {DT_f64, 2, {3, FAKE_TOKENS}}, ids3};
  write_file("bad", bad, 3);
  fails("run --entry train_step --inputs @bad --outputs @none", EXIT_INPUT, "whole numbers");
  fails("run --entry decode --inputs @bad --outputs @none", EXIT_INPUT,
        "no entry point \"decode\" here; there are: train_step, encode_image, encode_text");
  fails("run --entry encode_text --inputs @missing --outputs @none", EXIT_INPUT, "missing");
  write_file("few", inputs3, 1);
  fails("run --entry encode_text --inputs @in3 --outputs @none --weights @few", EXIT_INPUT,
        "3 of 3 tensors are missing");
  fails("run --entry encode_text --inputs @in3", EXIT_USAGE, "--outputs is missing");
  fails("run --entri encode_text", EXIT_USAGE, "did you mean --entry?");
  fails("run --entry encode_text --inputs @in3 --outputs @o --save-grads", EXIT_USAGE,
        "train_step");
  fails("run --entry encode_text --inputs @in3 --outputs @o --mode fast", EXIT_USAGE,
        "infer or train");
  fails("run --entry train_step --inputs @in3 --outputs @o --steps many", EXIT_USAGE,
        "whole number");
  fails("run stray --entry train_step", EXIT_USAGE, "stray");
  fails("walk", EXIT_USAGE, "a verb is needed");
}

static void run_training_steps(void **state) {
  (void)state;
  fill_inputs3();
  write_file("in3", inputs3, 3);
  runs("run --entry train_step --inputs @in3 --outputs @out --steps 4 --seed 5 --save-taps "
       "--save-grads --save-params --lr 0.1");
  assert_true(last_request.gradients);
  Program *own;
  Error error;
  assert_true(program_open(&own, &fake_plan, fake_lookup, NULL, 1, &error));
  program_initialize(own, 5);
  TensorFile out;
  open_file(&out, "out");
  for (int s = 0; s < 4; s++) {
    for (int q = 0; q < FAKE_BATCH; q++) {
      int from = (FAKE_BATCH * s + q) % 3;
      memcpy((float *)program_input(own, 0, "volume", NULL) + q * FAKE_VOXELS,
             volumes3 + from * FAKE_VOXELS, FAKE_VOXELS * sizeof(float));
      memcpy((int64_t *)program_input(own, 0, "input_ids", NULL) + q * FAKE_TOKENS,
             ids3 + from * FAKE_TOKENS, FAKE_TOKENS * 8);
      memcpy((int64_t *)program_input(own, 0, "attention_mask", NULL) + q * FAKE_TOKENS,
             mask3 + from * FAKE_TOKENS, FAKE_TOKENS * 8);
    }
    *(float *)program_input(own, 0, "lr", NULL) = 0.1f;
    assert_true(program_run(own, 0, &error));
    char name[32];
    snprintf(name, sizeof name, "step%d.loss", s);
    assert_memory_equal(values(&out, name), program_output(own, 0, "loss", NULL), 4);
    if (s > 0)
      continue;
    assert_memory_equal(values(&out, "loss"), program_output(own, 0, "loss", NULL), 4);
    assert_memory_equal(values(&out, "latents"), program_output(own, 0, "latents", NULL), 32);
    assert_memory_equal(values(&out, "grad.image.weight"),
                        program_output(own, 0, "grad.image.weight", NULL), 128);
    for (int i = 0; i < FAKE_WORDS * FAKE_WIDTH; i++)
      assert_true(values(&out, "grad.text.table")[i] == 0);
  }
  assert_memory_equal(values(&out, "param.image.weight"), program_tensor(own, "image.weight", NULL),
                      128);
  assert_int_equal(*(const int64_t *)(const void *)values(&out, "param.image.count"), 4);
  assert_null(tensor_file_find(&out, "param.momentum.image.weight"));
  tensor_file_close(&out);
  program_close(own);
}

/* ---- train ---- */

#define TRAIN "train --cache @cache --vocab @vocab.txt --loss.negatives micro --seed 3 --warmup 2 "

/* The log without its last column, the time. */
static void log_text(const char *name, char *text, size_t room) {
  char *out = text;
  read_back(name, text, room);
  for (char *at = text, *end; (end = strchr(at, '\n')); at = end + 1) {
    char *comma = end;
    for (int i = 0; i < 2; i++) /* without the times */
      while (*--comma != ',')
        ;
    memmove(out, at, (size_t)(comma - at));
    out += comma - at;
    *out++ = '\n';
  }
  *out = 0;
}

static void same_tensors(const char *a, const char *b) {
  TensorFile x, y;
  open_file(&x, a);
  open_file(&y, b);
  assert_int_equal(x.count, 4); /* state included */
  assert_int_equal(x.count, y.count);
  for (int i = 0; i < x.count; i++) {
    assert_string_equal(x.tensors[i].name, y.tensors[i].name);
    assert_memory_equal(x.tensors[i].data, y.tensors[i].data, type_bytes(&x.tensors[i].type));
  }
  tensor_file_close(&x);
  tensor_file_close(&y);
}

/* The timeline of a training of 8 steps: every step, its entry point, checkpoints, 16 samples. */
static void traced(const char *name) {
  static const char *const words[] = {"step", "entry", "data", "file", "read"};
  static const int wanted[] = {8, 8, 8, 4, 16};
  int counted[5] = {0};
  Arena *arena = arena_new();
  char *text;
  size_t size;
  Json json;
  Error error;
  assert_true(file_read(arena, in_folder(name), 1 << 20, &text, &size, &error));
  if (!json_parse(arena, text, size, &json, &error))
    fail_msg("%s", error.text);
  const Json *events = json_get(&json, "traceEvents");
  for (int i = 0; i < events->count; i++) {
    const Json *kind = json_get(&events->items[i], "cat");
    for (int k = 0; kind && k < 5; k++)
      counted[k] += strcmp(kind->string, words[k]) == 0;
    if (kind && strcmp(kind->string, "read") == 0)
      assert_true(json_get(&events->items[i], "tid")->integer > 0);
  }
  for (int k = 0; k < 5; k++)
    assert_int_equal(counted[k], wanted[k]);
  arena_free(arena);
}

static void train_and_resume(void **state) {
  (void)state;
  static char whole[4096], parts[4096];
  runs(TRAIN "--out @a --steps 8 --threads 1");
  assert_int_equal(access(in_folder("a/model.safetensors"), F_OK), 0);
  log_text("a/log.csv", whole, sizeof whole);
  assert_memory_equal(whole, "step,epoch,loss,lr,grad_norm\n1,1,", 33);
  assert_non_null(
      strstr(whole, ",0.005,1\n2,1,")); /* half the rate in the first of two warm-up steps */
  assert_non_null(strstr(whole, "\n8,3,"));
  assert_null(strstr(whole, "\n9,"));
  /* with checkpoints on the way and stopped early, then continued past its own log */
  runs(TRAIN "--out @b --steps 8 --checkpoint-every 2 --keep 2 --threads 2 --trace @timeline");
  traced("timeline");
  assert_int_not_equal(access(in_folder("b/checkpoint-00000004.safetensors"), F_OK), 0);
  assert_int_equal(access(in_folder("b/checkpoint-00000006.safetensors"), F_OK), 0);
  same_tensors("a/checkpoint-00000008.safetensors", "b/checkpoint-00000008.safetensors");
  runs(TRAIN "--out @c --steps 8 --checkpoint-every 5 --keep 0 --threads 2");
  runs("train --cache @cache --vocab @vocab.txt --loss.negatives micro --out @c --resume "
       "@c/checkpoint-00000005.safetensors");
  same_tensors("a/checkpoint-00000008.safetensors", "c/checkpoint-00000008.safetensors");
  log_text("c/log.csv", parts, sizeof parts);
  assert_string_equal(whole, parts);
  /* stopped by a signal: the step is finished, saved, and can be continued */
  steps_until_signal = 3;
  runs(TRAIN "--out @d --steps 8");
  assert_non_null(strstr(error_text, "stopped after step 3; continue with --resume"));
  assert_int_not_equal(access(in_folder("d/model.safetensors"), F_OK), 0);
  runs("train --cache @cache --vocab @vocab.txt --loss.negatives micro --out @d --resume "
       "@d/checkpoint-00000003.safetensors");
  same_tensors("a/checkpoint-00000008.safetensors", "d/checkpoint-00000008.safetensors");
  log_text("d/log.csv", parts, sizeof parts);
  assert_string_equal(whole, parts);
  /* another seed, another order and start */
  runs("train --cache @cache --vocab @vocab.txt --loss.negatives batch --seed 4 --warmup 2 "
       "--out @e --steps 8");
  log_text("e/log.csv", parts, sizeof parts);
  assert_string_not_equal(whole, parts);
  /* the newest checkpoint, whichever it is; where there is none the training starts */
  steps_until_signal = 5;
  runs(TRAIN "--out @g --resume last --steps 8");
  runs("train --cache @cache --vocab @vocab.txt --loss.negatives micro --out @g --resume last");
  same_tensors("a/checkpoint-00000008.safetensors", "g/checkpoint-00000008.safetensors");
  log_text("g/log.csv", parts, sizeof parts);
  assert_string_equal(whole, parts);
  /* the other log: a line of JSON a step */
  read_back("g/log.jsonl", parts, sizeof parts);
  int lines = 0;
  Arena *arena = arena_new();
  for (char *at = parts, *end; (end = strchr(at, '\n')); at = end + 1, lines++) {
    Json json;
    Error error = {""};
    assert_true(json_parse(arena, at, (size_t)(end - at), &json, &error));
    assert_int_equal(json_get(&json, "step")->integer, lines + 1);
    assert_int_equal(json_get(&json, "volumes")->count, 2);
  }
  assert_int_equal(lines, 8);
  arena_free(arena);
  /* half a cosine ends near lr-end */
  runs(TRAIN "--out @h --steps 8 --schedule cosine --lr-end 0.001");
  log_text("h/log.csv", parts, sizeof parts);
  assert_non_null(strstr(parts, ",0.01,1\n4,2,"));
  assert_non_null(strstr(parts, ",0.0055,1\n7,3,"));
  /* what it would cost, without a trace */
  runs(TRAIN "--out @i --steps 8 --dry-run");
  assert_non_null(strstr(output_text, "steps   8 of 2 volumes each, 3 an epoch of 7 volumes\n"));
  assert_non_null(strstr(output_text, "\nmemory "));
  assert_int_not_equal(access(in_folder("i"), F_OK), 0);
  /* whole epochs: three steps of two of seven volumes */
  runs(TRAIN "--out @f --epochs 2");
  assert_int_equal(access(in_folder("f/checkpoint-00000006.safetensors"), F_OK), 0);
}

static void train_refuses(void **state) {
  (void)state;
  runs(TRAIN "--out @r --steps 3");
#define RESUME                                                                                     \
  "train --cache @cache --vocab @vocab.txt --loss.negatives micro --out @r "                       \
  "--resume @r/checkpoint-00000003.safetensors "
  fails(RESUME "--seed 4", EXIT_INPUT, "was trained with --seed 3");
  fails(RESUME "--limit 6", EXIT_INPUT, "another list of volumes");
  fails("train --cache @cache --vocab @vocab.txt --loss.negatives micro --out @r "
        "--resume @r/model.safetensors",
        EXIT_INPUT, "is not a checkpoint");
  fails(TRAIN "--out @r2 --limit 1", EXIT_INPUT, "1 volumes are fewer than a step's 2");
  fails(TRAIN "--out @r2 --split test", EXIT_INPUT, "test");
  fails("train --cache @cache --vocab @large.txt --loss.negatives micro --out @r2", EXIT_INPUT,
        "has 17 pieces, the model knows 16");
  fails("train --cache @cache --out @r2", EXIT_USAGE, "--vocab is missing");
  fails("train --cache @cache --vocab @vocab.txt --out @r2", EXIT_USAGE,
        "--loss.negatives is missing");
  fails(TRAIN "--out @r2 --loss.negatives global", EXIT_USAGE, "across processes");
  fails(TRAIN "--out @r2 --accumulate 2", EXIT_INPUT, "no entry point \"train_micro\"");
  fails(RESUME "--accumulate 2", EXIT_INPUT, "--accumulate 1");
  fails(TRAIN "--out @r2 --clip -1", EXIT_INPUT, "not negative");
  fails(TRAIN "--out @r2 --schedule linear", EXIT_USAGE, "constant|cosine");
  fails(TRAIN "--out @r2 --steps 2 --epochs 1", EXIT_USAGE, "not both");
  /* a learning rate that blows up: a row in the log, no checkpoint, status 1 */
  fails(TRAIN "--out @boom --steps 60 --lr 1e20", EXIT_INPUT, "the loss is ");
  assert_non_null(strstr(error_text, "Volumes: train_"));
  assert_int_not_equal(access(in_folder("boom/model.safetensors"), F_OK), 0);
  /* a volume that cannot be read: the steps before it are saved */
  TensorFile file;
  assert_int_equal(rename(in_folder("cache/v2.safetensors"), in_folder("cache/away")), 0);
  fclose(fopen(in_folder("cache/v2.safetensors"), "wb"));
  fails(TRAIN "--out @torn --steps 8", EXIT_INPUT, "v2.safetensors");
  static char text[4096];
  char name[64];
  log_text("torn/log.csv", text, sizeof text);
  int done = 0;
  for (const char *at = text; (at = strchr(at, '\n')); at++)
    done++;
  if (done > 1) {
    snprintf(name, sizeof name, "torn/checkpoint-%08d.safetensors", done - 1);
    open_file(&file, name);
    tensor_file_close(&file);
  }
  assert_int_equal(rename(in_folder("cache/away"), in_folder("cache/v2.safetensors")), 0);
}

/* ---- eval, predict, info, bench ---- */

/* Probability of finding 0 ("Medical material": words the vocabulary lacks) for a volume. */
static double expected_probability(int volume) {
  Program *own;
  Error error;
  float image[FAKE_WIDTH], text[2][FAKE_WIDTH], voxels[FAKE_VOXELS];
  assert_true(program_open(&own, &fake_plan, fake_lookup, NULL, 1, &error));
  program_initialize(own, 9);
  for (int v = 0; v < FAKE_VOXELS; v++)
    voxels[v] = voxel(volume, v);
  void *arguments[] = {voxels, program_tensor(own, "image.weight", NULL), image};
  fake_image(arguments, 0, 1);
  /* [CLS] [UNK] [UNK] is ... cut to 6 with [SEP] last */
  int64_t ids[2][FAKE_TOKENS] = {{2, 1, 1, 5, 9, 3}, {2, 1, 1, 5, 11, 3}};
  int64_t mask[FAKE_TOKENS] = {1, 1, 1, 1, 1, 1};
  double logit[2];
  for (int i = 0; i < 2; i++) {
    void *more[] = {ids[i], mask, program_tensor(own, "text.table", NULL), text[i]};
    fake_text(more, 0, 1);
    double dot = 0, aa = 0, bb = 0;
    for (int w = 0; w < FAKE_WIDTH; w++) {
      dot += (double)image[w] * text[i][w];
      aa += (double)image[w] * image[w];
      bb += (double)text[i][w] * text[i][w];
    }
    logit[i] = 2.5 * dot / sqrt(aa * bb);
  }
  program_close(own);
  return exp(logit[0]) / (exp(logit[0]) + exp(logit[1]));
}

static void evaluates(void **state) {
  (void)state;
  static char csv[1 << 15];
  runs("eval zeroshot --cache @cache --vocab @vocab.txt --out @ev --seed 9");
  read_back("ev/zeroshot.csv", csv, sizeof csv);
  assert_memory_equal(csv, "VolumeName,Medical material,", 28);
  const char *row = strstr(csv, "valid_9.nii.gz,");
  assert_non_null(row);
  assert_true(fabs(strtod(row + 15, NULL) - expected_probability(9)) < 1e-6);
  assert_non_null(strstr(output_text, "7 volumes, 6 with labels"));
  runs("eval zeroshot --cache @cache --vocab @vocab.txt --out @ev --seed 9 --json --split valid");
  Arena *arena = arena_new();
  Json json;
  Error error = {""};
  if (!json_parse(arena, output_text, strlen(output_text), &json, &error))
    fail_msg("%s", error.text);
  assert_int_equal(json_get(&json, "scored")->integer, 6);
  assert_int_equal(json_get(json_get(&json, "per_pathology"), "Medical material")->kind,
                   JSON_OBJECT);
  runs("eval retrieval --cache @cache --vocab @vocab.txt --out @ev --seed 9 --json");
  if (!json_parse(arena, output_text, strlen(output_text), &json, &error))
    fail_msg("%s", error.text);
  const Json *both = json_get(json_get(&json, "retrieval"), "text_to_image");
  assert_true(json_get(both, "R@10")->number == 1); /* of 7 */
  TensorFile file;
  open_file(&file, "ev/latents.safetensors");
  assert_int_equal(file.count, 2);
  tensor_file_close(&file);
  fails("eval probing --cache @cache --vocab @vocab.txt --out @ev", EXIT_USAGE, "not \"probing\"");
  fails("eval", EXIT_USAGE, "zeroshot, retrieval or probe");
  fails("eval zeroshot --cache @cache --vocab @vocab.txt --out @ev", EXIT_INPUT,
        "--weights: error: not given");

  runs("predict --vocab @vocab.txt --seed 9 --json @cache/v9.safetensors @cache/v3.safetensors");
  if (!json_parse(arena, output_text, strlen(output_text), &json, &error))
    fail_msg("%s", error.text);
  const Json *list = json_get(&json, "predictions");
  assert_int_equal(list->count, 2);
  double p = json_get(json_get(&list->items[0], "probabilities"), "Medical material")->number;
  assert_true(fabs(p - expected_probability(9)) < 1e-6);
  assert_non_null(strstr(json_get(&json, "notice")->string, "research use only"));
  fails("predict --vocab @vocab.txt --seed 1 --out @table @cache/v9.safetensors @cache/none.nii.gz",
        EXIT_INPUT, "none.nii.gz");
  read_back("table", csv, sizeof csv);
  assert_non_null(strstr(csv, "Medical material"));
  assert_non_null(strstr(csv, "research use only"));
  fails("predict --vocab @vocab.txt", EXIT_USAGE, "which volumes?");

  runs("info --json");
  if (!json_parse(arena, output_text, strlen(output_text), &json, &error))
    fail_msg("%s", error.text);
  assert_int_equal(json_get(&json, "parameters")->integer, 32 + 64);
  assert_int_equal(json_get(&json, "entries")->count, 3);
  runs("info");
  assert_non_null(strstr(output_text, "encode_image: 1 steps"));
  runs("bench --entry train_step --repeat 3 --profile --json");
  if (!json_parse(arena, output_text, strlen(output_text), &json, &error))
    fail_msg("%s", error.text);
  assert_int_equal(json_get(&json, "steps")->count, 4);
  assert_true(json_get(&json, "seconds_median")->number > 0);
  assert_true(json_get(json_get(&json, "machine"), "fma_flops_per_second")->number > 0);
  const Json *step = &json_get(&json, "steps")->items[0];
  assert_int_equal(json_get(step, "flops_executed")->integer, 128);
  assert_string_equal(json_get(step, "kernel")->string, "fake_image");
  assert_true(json_get(step, "floor_seconds")->number > 0);
  runs("bench --entry train_step --repeat 3 --whole --json --trace @trace");
  if (!json_parse(arena, output_text, strlen(output_text), &json, &error))
    fail_msg("%s", error.text);
  assert_null(json_get(&json, "steps"));
  read_back("trace", csv, sizeof csv);
  if (!json_parse(arena, csv, strlen(csv), &json, &error))
    fail_msg("%s", error.text);
  fails("bench --entry train_step --whole --profile", EXIT_USAGE, "--profile asks for");
  runs("bench --entry train_step --inputs @in3 --profile");
  assert_non_null(strstr(output_text, "fake.yaml:3"));
  runs("train --help");
  assert_non_null(strstr(output_text, "--resume FILE"));
  assert_null(strstr(output_text, "--save-grads"));
  arena_free(arena);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(run_forward),        cmocka_unit_test(run_refuses),
      cmocka_unit_test(run_training_steps), cmocka_unit_test(train_and_resume),
      cmocka_unit_test(train_refuses),      cmocka_unit_test(evaluates)};
  return cmocka_run_group_tests(tests, make_world, remove_world);
}
