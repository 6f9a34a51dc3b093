/* Samples of every op: graphs of one node in the .tg form, on small shapes. A row of the op table
 * without a sample fails test_ops; test_targets runs every sample on every target.
 */
#ifndef TRICOT_TESTS_OP_SAMPLES_H
#define TRICOT_TESTS_OP_SAMPLES_H
#include "tests/unit/graph_tools.h"

/* clang-format off: one sample a line */
static const struct Sample {
  const char *inputs, *node;
} samples[] = {
  {"", "%r = constant value=2.5 shape=[2,3] : f32[2,3]"},
  {"", "%r = constant value=3 dtype=i64 shape=[] : i64[]"},
  {"", "%r = iota axis=1 shape=[2,3,2] : f32[2,3,2]"},
  {"%x: f32[2,3]", "%r = neg %x : f32[2,3]"},
  {"%x: f32[2,3]", "%r = abs %x : f32[2,3]"},
  {"%x: f32[2,3]", "%r = sign %x : f32[2,3]"},
  {"%x: f64[2,3]", "%r = exp %x : f64[2,3]"},
  {"%positive: f32[2,3]", "%r = log %positive : f32[2,3]"},
  {"%positive: f32[2,3]", "%r = sqrt %positive : f32[2,3]"},
  {"%positive: f32[2,3]", "%r = rsqrt %positive : f32[2,3]"},
  {"%x: f32[2,3]", "%r = tanh %x : f32[2,3]"},
  {"%x: f32[2,3]", "%r = erf %x : f32[2,3]"},
  {"%x: f32[2,3]", "%r = floor %x : f32[2,3]"},
  {"%x: f32[2,3]", "%r = cast %x dtype=f64 : f64[2,3]"},
  {"%x: f32[2,3]", "%r = cast %x dtype=i64 : i64[2,3]"},
  {"%x: i64[2,3]", "%r = cast %x dtype=f32 : f32[2,3]"},
  {"%x: f32[2,3], %y: f32[2,3]", "%r = add %x, %y : f32[2,3]"},
  {"%x: f32[2,3], %y: f32[2,3]", "%r = sub %x, %y : f32[2,3]"},
  {"%x: f32[2,3], %y: f32[2,3]", "%r = mul %x, %y : f32[2,3]"},
  {"%x: f32[2,3]", "%r = mul %x, %x : f32[2,3]"},
  {"%x: f32[2,3], %positive: f32[2,3]", "%r = div %x, %positive : f32[2,3]"},
  {"%x: f16[2,3], %y: f16[2,3]", "%r = max %x, %y : f16[2,3]"},
  {"%x: f32[2,3], %y: f32[2,3]", "%r = min %x, %y : f32[2,3]"},
  {"%x: f32[2,3], %y: f32[2,3]", "%r = lt %x, %y : f32[2,3]"},
  {"%index: i64[2,3], %index2: i64[2,3]", "%r = le %index, %index2 : f32[2,3]"},
  {"%index: i64[2,3], %index2: i64[2,3]", "%r = eq %index, %index2 : f32[2,3]"},
  {"%c: f32[2,3], %x: f32[2,3], %y: f32[2,3]", "%r = select %c, %x, %y : f32[2,3]"},
  {"%bit: f32[2,3], %x: f64[2,3], %y: f64[2,3]", "%r = select %bit, %x, %y : f64[2,3]"},
  {"%x: f32[2,3]", "%r = relu %x : f32[2,3]"},
  {"%x: f32[2,3]", "%r = leaky_relu %x slope=0.25 : f32[2,3]"},
  {"%x: f32[2,3]", "%r = sigmoid %x : f32[2,3]"},
  {"%x: f64[2,3]", "%r = gelu %x : f64[2,3]"},
  {"%x: f32[2,3,4]", "%r = reshape %x shape=[4,6] : f32[4,6]"},
  {"%x: f32[1,1]", "%r = reshape %x shape=[] : f32[]"},
  {"%x: f32[2,3,4]", "%r = permute %x perm=[1,2,0] : f32[3,4,2]"},
  {"%x: f32[2,1,3,1]", "%r = broadcast %x shape=[2,4,3,2] : f32[2,4,3,2]"},
  {"%x: f32[5,7]", "%r = slice %x start=[1,0] stop=[4,7] step=[2,3] : f32[2,3]"},
  {"%x: f32[2,3], %y: f32[2,1], %z: f32[2,2]", "%r = concat %x, %y, %z axis=1 : f32[2,6]"},
  {"%x: f32[2,3]", "%r = pad %x before=[1,0] after=[0,2] step=[3,1] value=1.5 : f32[5,5]"},
  {"%x: f32[2,5,7]",
   "%r = polyphase %x stride=[1,2,3] phases=[0,0,0,0,1,0,0,1,2] axis=1 : f32[2,9,3]"},
  {"%x: f32[2,6]", "%r = polyphase %x stride=[1,2] phases=[0,1] axis=1 : f32[2,3]"},
  {"%x: f32[2,3,4]", "%r = reduce_sum %x axes=[0,2] : f32[1,3,1]"},
  {"%u: f32[2,1,3], %w: f32[3,3,2]",
   "%r = tap_compose %u, %w taps=[0,0,0,0,0,1] stride=[1,1,1] then=[0,0,0,0,0,-1,0,1,0] "
   ": f32[5,1,2]"},
  {"%x: f32[1,3,2,4,1], %u: f32[2,1,3], %b: f32[3], %w: f32[4,3,2]",
   "%r = tap_conv_outside %x, %u, %b, %w taps=[0,0,0,0,0,1] stride=[1,1,1] size=[3,2,4] "
   "then=[0,0,0,0,0,-1,1,0,0,0,-1,1] : f32[1,3,2,4,2]"},
  {"%x: f32[2,3,4]", "%r = variance %x axes=[1] : f32[2,1,4]"},
  {"%x: f32[2,3,4]", "%r = variance %x axes=[2] : f32[2,3,1]"},
  {"%x: f32[2,3,4]", "%r = variance %x axes=[0,1,2] : f32[1,1,1]"},
  {"%x: f32[2,3,4]", "%r = reduce_max %x axes=[1] : f32[2,1,4]"},
  {"%x: f32[2,3,4]", "%r = reduce_max %x axes=[0,1,2] : f32[1,1,1]"},
  {"%x: f32[2,3,4]", "%r = reduce_mean %x axes=[2,1] : f32[2,1,1]"},
  {"%x: f32[2,3], %y: f32[3,4]", "%r = matmul %x, %y : f32[2,4]"},
  {"%x: f32[2,3,2], %y: f32[2,3,4]", "%r = matmul %x, %y ta=1 : f32[2,2,4]"},
  {"%x: f32[2,2,3], %y: f32[2,4,3]", "%r = matmul %x, %y tb=1 : f32[2,2,4]"},
  {"%x: f32[2,3,2,4], %y: f32[4,5]", "%r = matmul %x, %y : f32[2,3,2,5]"},
  {"%x: f32[2,1,3,2], %y: f32[2,1,4,3]", "%r = matmul %x, %y ta=1 tb=1 : f32[2,1,2,4]"},
  {"%x: f32[2,3,4,3,5], %w: f32[2,3,3,1,2]", "%r = conv3d %x, %w : f32[2,2,2,3,4]"},
  {"%x: f32[1,2,5,4,6], %w: f32[3,2,3,3,3]",
   "%r = conv3d %x, %w stride=[2,1,3] pad=[1,1,1] pad_after=[1,1,0] : f32[1,3,3,4,2]"},
  {"%x: f32[1,4,3,3,3], %w: f32[6,2,2,3,1]",
   "%r = conv3d %x, %w pad=[1,2,0] groups=2 : f32[1,6,3,3,3]"},
  {"%x: f32[2,3,3,2,4], %w: f32[3,1,3,1,3]",
   "%r = conv3d %x, %w stride=[1,2,2] pad=[2,0,1] pad_after=[0,0,1] groups=3 : f32[2,3,3,1,2]"},
  {"%x: f32[1,2,2,2,2], %w: f32[4,1,1,1,1]", "%r = conv3d %x, %w groups=2 : f32[1,4,2,2,2]"},
  {"%dy: f32[1,3,3,4,2], %w: f32[3,2,3,3,3]",
   "%r = conv3d_grad_input %dy, %w stride=[2,1,3] pad=[1,1,1] pad_after=[1,1,0] groups=1 "
   "size=[5,4,6] : f32[1,2,5,4,6]"},
  {"%x: f32[1,4,3,3,3], %dy: f32[1,6,3,3,3]",
   "%r = conv3d_grad_weight %x, %dy stride=[1,1,1] pad=[1,2,0] pad_after=[0,0,0] groups=2 "
   "kernel=[2,3,1] : f32[6,2,2,3,1]"},
  {"%x: f32[1,3,3,3,2], %w: f32[2,2,4]",
   "%r = tap_conv %x, %w taps=[0,0,0,-1,2,1] stride=[2,1,1] size=[2,3,3] : f32[1,2,3,3,4]"},
  {"%x: f32[1,3,3,3,2], %dy: f32[1,2,3,3,4]",
   "%r = tap_conv_grad_weight %x, %dy taps=[0,0,0,-1,2,1] stride=[2,1,1] : f32[2,2,4]"},
  {"%q: f32[2,3,2,4], %k: f32[2,5,2,4], %v: f32[2,5,2,3]",
   "%r, %s = attention %q, %k, %v scale=0.5 : f32[2,3,2,3], f32[2,3,2,1]"},
  {"%q: f32[1,1,1,1], %k: f32[1,1,1,1], %v: f32[1,1,1,1]",
   "%r, %s = attention %q, %k, %v : f32[1,1,1,1], f32[1,1,1,1]"},
  {"%q: f32[2,7,1,3], %k: f32[2,12,1,3], %v: f32[2,12,1,2], %g: i64[2,7], %h: i64[2,12]",
   "%r, %s = attention %q, %k, %v, %g, %h scale=0.75 penalty=1000 : f32[2,7,1,2], f32[2,7,1,1]"},
  {"%q: f32[1,3,1,4], %k: f32[1,70,1,4], %v: f32[1,70,1,2], %positive: f32[1,3], %h: f32[1,70]",
   "%r, %s = attention %q, %k, %v, %positive, %h scale=0 penalty=1000 : f32[1,3,1,2], "
   "f32[1,3,1,1]"}, /* nobody sees a key: everybody sees all */
  {"%q: f32[2,3,2,4], %k: f32[2,5,2,4], %v: f32[2,5,2,3], %dy: f32[2,3,2,3], "
   "%positive: f32[2,3,2,1], %d: f32[2,3,2,1]",
   "%r, %s, %t = attention_grad %q, %k, %v, %dy, %positive, %d scale=0.5 penalty=10000 "
   ": f32[2,3,2,4], f32[2,5,2,4], f32[2,5,2,3]"},
  {"%q: f32[2,7,1,3], %k: f32[2,12,1,3], %v: f32[2,12,1,2], %dy: f32[2,7,1,2], "
   "%positive: f32[2,7,1,1], %d: f32[2,7,1,1], %g: i64[2,7], %h: i64[2,12]",
   "%r, %s, %t = attention_grad %q, %k, %v, %dy, %positive, %d, %g, %h scale=0.75 penalty=1000 "
   ": f32[2,7,1,3], f32[2,12,1,3], f32[2,12,1,2]"},
  {"%x: f32[1,3,3,3,2], %w: f32[2,2]",
   "%r = tap_depthwise %x, %w taps=[0,0,0,-1,2,1] stride=[1,1,1] divisor=[2,1,1] size=[5,3,3] "
   ": f32[1,5,3,3,2]"},
  {"%x: f32[1,3,3,3,2], %dy: f32[1,2,3,3,2]",
   "%r = tap_depthwise_grad_weight %x, %dy taps=[0,0,0,-1,2,1] stride=[2,1,1] : f32[2,2]"},
  {"%x: f32[1,2,5,4,3]",
   "%r, %n = max_pool %x kernel=[3,3,3] stride=[2,2,2] pad=[1,1,1] : f32[1,2,3,2,2], "
   "u8[1,2,3,2,2]"},
  {"%x: f32[2,1,2,4,3]",
   "%r, %n = max_pool %x kernel=[1,2,3] stride=[1,1,1] : f32[2,1,2,3,1], u8[2,1,2,3,1]"},
  {"%dy: f32[1,2,2,2,2], %index: u8[1,2,2,2,2]",
   "%r = max_pool_grad %dy, %index kernel=[2,3,2] stride=[1,1,2] pad=[0,0,0] size=[3,4,5] "
   ": f32[1,2,3,4,5]"},
  {"%x: f32[1,2,5,4,3]",
   "%r = avg_pool %x kernel=[3,3,3] stride=[2,1,2] pad=[1,1,1] : f32[1,2,3,4,2]"},
  {"%x: f32[1,2,1,2,1]",
   "%r = avg_pool %x kernel=[3,3,3] stride=[1,1,1] pad=[1,1,1] : f32[1,2,1,2,1]"},
  {"%dy: f32[1,2,3,4,2]",
   "%r = avg_pool_grad %dy kernel=[3,3,3] stride=[2,1,2] pad=[1,1,1] size=[5,4,3] "
   ": f32[1,2,5,4,3]"},
  {"%x: f32[1,3,3,3,2]",
   "%r, %n = tap_max %x taps=[0,0,0,-1,2,1] stride=[1,1,1] size=[3,3,3] : f32[1,3,3,3,2], "
   "u8[1,3,3,3,2]"},
  {"%dy: f32[1,3,3,3,2], %index: u8[1,3,3,3,2]",
   "%r = tap_max_grad %dy, %index taps=[0,0,0,1,-2,-1] divisor=[2,1,1] size=[5,3,3] "
   ": f32[1,5,3,3,2]"},
  {"%x: f32[1,3,3,3,2]",
   "%r = tap_sum %x taps=[0,0,0,-1,2,1] stride=[1,1,2] size=[3,3,2] : f32[1,3,3,2,2]"},
  {"%x: f32[2,3,2,1,2], %w: f32[3], %b: f32[3], %m: f32[3], %positive: f32[3]",
   "%r = batch_norm %x, %w, %b, %m, %positive eps=0.01 : f32[2,3,2,1,2]"},
  {"%x: f32[4,3], %w: f32[3], %b: f32[3], %m: f32[3], %positive: f32[3]",
   "%r = batch_norm %x, %w, %b, %m, %positive : f32[4,3]"},
  {"%x: f32[2,3,2,1,2], %w: f32[3], %b: f32[3], %m: f32[3], %positive: f32[3], %count: i64[]",
   "%r, %s, %t, %u = batch_norm_train %x, %w, %b, %m, %positive, %count eps=0.01 momentum=0.25 "
   ": f32[2,3,2,1,2], f32[3], f32[3], i64[]"},
  {"%x: f32[2,3,5], %w: f32[5], %b: f32[5]",
   "%r = layer_norm %x, %w, %b eps=0.01 : f32[2,3,5]"},
  {"%x: f32[5], %w: f32[5], %b: f32[5]", "%r = layer_norm %x, %w, %b : f32[5]"},
  {"%x: f32[2,3,4]", "%r = softmax %x : f32[2,3,4]"},
  {"%x: f32[2,3,4]", "%r = logsumexp %x : f32[2,3,1]"},
  {"%x: f32[2,3,4]", "%r = l2_normalize %x : f32[2,3,4]"},
  {"%x: f32[4,2]", "%r = l2_normalize %x eps=1.5 : f32[4,2]"},
  {"%images: f32[3,4], %texts: f32[3,4], %positive: f32[]",
   "%r = contrastive_loss %images, %texts, %positive : f32[]"},
  {"%table: f32[3,4], %ids: i64[2,5]", "%r = embedding %table, %ids : f32[2,5,4]"},
  {"%dy: f32[2,5,4], %ids: i64[2,5]", "%r = embedding_grad %dy, %ids rows=3 : f32[3,4]"},
  {"%p: f32[2,3], %g: f32[2,3], %m: f32[2,3], %positive: f32[2,3], %positive2: f32[], "
   "%positive3: f32[]",
   "%r, %s, %t = adamw %p, %g, %m, %positive, %positive2, %positive3 beta1=0.9 beta2=0.95 "
   "eps=1e-8 decay=0.05 : f32[2,3], f32[2,3], f32[2,3]"},
  {"%p: f64[4], %g: f64[4], %m: f64[4], %positive: f64[4], %positive2: f32[], %positive3: f32[]",
   "%r, %s, %t = adamw %p, %g, %m, %positive, %positive2, %positive3 beta1=0.0 beta2=0.5 "
   "eps=1e-3 decay=0.0 : f64[4], f64[4], f64[4]"},
  {"%x: f32[2,3], %y: f32[2,3]",
   "%r, %s = region %x, %y : f32[2,3], f32[2,3] "
   "@body(%a: f32[2,3], %b: f32[2,3]) { %c = mul %a, %b : f32[2,3] %d = exp %c : f32[2,3] "
   "ret %d, %c }"},
};
/* clang-format on */

enum { SAMPLES = sizeof samples / sizeof samples[0] };

static inline Graph *sample_graph(Arena *arena, const struct Sample *sample) {
  const char *results = arena_strndup(arena, sample->node, strcspn(sample->node, "="));
  return parse_graph(arena, arena_printf(arena, "graph @sample(%s) {\n  %s\n  ret %s\n}\n",
                                         sample->inputs, sample->node, results));
}
#endif
