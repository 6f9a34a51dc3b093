/* norm
 * norm:4 */
TRICOT_KERNEL(64, 6) norm(const f32 *__restrict__ x,
    const f32 *__restrict__ gamma,
    const f32 *__restrict__ beta,
    f32 *__restrict__ y) {
  const int i = TRICOT_BLOCK;
  const int thread = TRICOT_THREAD;
  f32 fold_[2];
  f32 x1[2];
  TRICOT_SHARED(f32, slots, 0); /* 64 */
  f32 fold1[1];
  f32 s[1];
  TRICOT_SHARED(f32, mean, 256); /* 4 */
  f32 fold2[2];
  f32 d[2];
  TRICOT_SHARED(f32, slots1, 272); /* 64 */
  f32 fold3[1];
  TRICOT_SHARED(f32, v, 528); /* 4 */
  f32 v1_[1];
  for (int z = 0; z < 2; z += 2) {
    f32x2 v0;
    #pragma unroll
    for (int lane = 0; lane < 2; lane++) {
      v0.at[lane] = 0.0f;
    }
    #pragma unroll
    for (int lane = 0; lane < 2; lane++) {
      fold_[z + lane] = v0.at[lane];
    }
  }
  const int e = thread / 16;
  const int e1 = thread % 16;
  f32x2 v1;
  if (4*i + e < 6)
    v1 = *(const f32x2 *)(x + (128*i + 32*e + 2*e1));
  else
    for (int lane = 0; lane < 2; lane++)
      v1.at[lane] = 0.0f;
  f32x2 v2;
  #pragma unroll
  for (int lane = 0; lane < 2; lane++) {
    v2.at[lane] = fold_[lane];
  }
  f32x2 v3;
  #pragma unroll
  for (int lane = 0; lane < 2; lane++) {
    v3.at[lane] = v2.at[lane] + v1.at[lane];
  }
  #pragma unroll
  for (int lane = 0; lane < 2; lane++) {
    fold_[lane] = v3.at[lane];
  }
  #pragma unroll
  for (int lane = 0; lane < 2; lane++) {
    x1[lane] = v1.at[lane];
  }
  const int e2 = thread / 16;
  const int e3 = thread % 16;
  const int e4 = thread % 16;
  f32x2 v4;
  #pragma unroll
  for (int lane = 0; lane < 2; lane++) {
    v4.at[lane] = fold_[lane];
  }
  f32x2 v5_folded = v4;
  for (int half = 1; half; half /= 2)
    for (int lane = 0; lane < half; lane++)
      v5_folded.at[lane] = v5_folded.at[lane] + v5_folded.at[lane + half];
  const f32 v5 = v5_folded.at[0];
  slots[16*e2 + e4] = v5;
  TRICOT_SYNC();
  if (thread < 4) {
    const int e5 = thread % 4;
    const f32 v6 = 0.0f;
    fold1[0] = v6;
    for (int i1 = 0; i1 < 16; i1++) {
      const f32 v7 = slots[16*e5 + i1];
      const f32 v8 = fold1[0];
      const f32 v9 = v8 + v7;
      fold1[0] = v9;
    }
    const f32 v10 = fold1[0];
    s[0] = v10;
  }
  if (thread < 4) {
    const int e6 = thread % 4;
    const f32 v11 = s[0];
    const f32 v12 = 0.03125f;
    const f32 v13 = v11 * v12;
    mean[e6] = v13;
  }
  for (int z1 = 0; z1 < 2; z1 += 2) {
    f32x2 v14;
    #pragma unroll
    for (int lane = 0; lane < 2; lane++) {
      v14.at[lane] = 0.0f;
    }
    #pragma unroll
    for (int lane = 0; lane < 2; lane++) {
      fold2[z1 + lane] = v14.at[lane];
    }
  }
  const int e7 = thread / 16;
  const int e8 = thread % 16;
  f32x2 v15;
  #pragma unroll
  for (int lane = 0; lane < 2; lane++) {
    v15.at[lane] = x1[lane];
  }
  TRICOT_SYNC();
  const f32 v16 = mean[e7];
  f32x2 v17;
  #pragma unroll
  for (int lane = 0; lane < 2; lane++) {
    v17.at[lane] = v16;
  }
  f32x2 v18;
  #pragma unroll
  for (int lane = 0; lane < 2; lane++) {
    v18.at[lane] = v15.at[lane] - v17.at[lane];
  }
  f32x2 v19;
  #pragma unroll
  for (int lane = 0; lane < 2; lane++) {
    v19.at[lane] = v18.at[lane] * v18.at[lane];
  }
  f32x2 v20;
  #pragma unroll
  for (int lane = 0; lane < 2; lane++) {
    v20.at[lane] = fold2[lane];
  }
  f32x2 v21;
  #pragma unroll
  for (int lane = 0; lane < 2; lane++) {
    v21.at[lane] = v20.at[lane] + v19.at[lane];
  }
  #pragma unroll
  for (int lane = 0; lane < 2; lane++) {
    fold2[lane] = v21.at[lane];
  }
  #pragma unroll
  for (int lane = 0; lane < 2; lane++) {
    d[lane] = v18.at[lane];
  }
  const int e9 = thread / 16;
  const int e10 = thread % 16;
  const int e11 = thread % 16;
  f32x2 v22;
  #pragma unroll
  for (int lane = 0; lane < 2; lane++) {
    v22.at[lane] = fold2[lane];
  }
  f32x2 v23_folded = v22;
  for (int half = 1; half; half /= 2)
    for (int lane = 0; lane < half; lane++)
      v23_folded.at[lane] = v23_folded.at[lane] + v23_folded.at[lane + half];
  const f32 v23 = v23_folded.at[0];
  slots1[16*e9 + e11] = v23;
  TRICOT_SYNC();
  if (thread < 4) {
    const int e12 = thread % 4;
    const f32 v24 = 0.0f;
    fold3[0] = v24;
    for (int i2 = 0; i2 < 16; i2++) {
      const f32 v25 = slots1[16*e12 + i2];
      const f32 v26 = fold3[0];
      const f32 v27 = v26 + v25;
      fold3[0] = v27;
    }
    const f32 v28 = fold3[0];
    v[e12] = v28;
    v1_[0] = v28;
  }
  if (thread < 4) {
    const int e13 = thread % 4;
    const f32 v29 = v1_[0];
    const f32 v30 = 0.03125f;
    const f32 v31 = 1e-05f;
    const f32 v32 = fmaf(v29, v30, v31);
    const f32 v41 = sqrtf(v32);
    const f32 v42 = 1.0f;
    const f32 v33 = v42 / v41;
    v[e13] = v33;
    v1_[0] = v33;
  }
  const int e14 = thread / 16;
  const int e15 = thread % 16;
  f32x2 v34;
  #pragma unroll
  for (int lane = 0; lane < 2; lane++) {
    v34.at[lane] = d[lane];
  }
  TRICOT_SYNC();
  const f32 v35 = v[e14];
  f32x2 v36;
  #pragma unroll
  for (int lane = 0; lane < 2; lane++) {
    v36.at[lane] = v35;
  }
  f32x2 v37;
  #pragma unroll
  for (int lane = 0; lane < 2; lane++) {
    v37.at[lane] = v34.at[lane] * v36.at[lane];
  }
  const f32x2 v38 = *(const f32x2 *)(gamma + (2*e15));
  const f32x2 v39 = *(const f32x2 *)(beta + (2*e15));
  f32x2 v40;
  #pragma unroll
  for (int lane = 0; lane < 2; lane++) {
    v40.at[lane] = fmaf(v37.at[lane], v38.at[lane], v39.at[lane]);
  }
  if (4*i + e14 < 6)
    *(f32x2 *)(y + (128*i + 32*e14 + 2*e15)) = v40;
  #pragma unroll
  for (int lane = 0; lane < 2; lane++) {
    d[lane] = v40.at[lane];
  }
}
