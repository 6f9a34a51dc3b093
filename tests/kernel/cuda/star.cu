/* tap_conv
 * star:4 */
TRICOT_CONSTANT int star_tap0[3] = {
    -1, 0, 1
};
TRICOT_CONSTANT int star_tap1[3] = {
    0, 0, 1
};
TRICOT_KERNEL(64, 6) star(const bf16 *__restrict__ x,
    const bf16 *__restrict__ w,
    f32 *__restrict__ y) {
  const int block = TRICOT_BLOCK;
  const int r = block / 2;
  const int r1 = block % 2;
  const int thread = TRICOT_THREAD;
  TRICOT_SHARED(bf16, halo, 0); /* 2160 */
  TRICOT_SHARED(bf16, weights, 4320); /* 1920 */
  f32 sum[32];
  bf16 all[24];
  i32 columns[8];
  const int lane_row = thread / 4 % 8;
  const int lane_column = thread % 4;
  const int warp_row = thread / 32;
  const int warp_column = thread / 64;
  const int lane_8 = thread % 8;
  const int lane_16 = thread % 16;
  const int second_8 = thread / 8 % 2;
  const int second_16 = thread / 16 % 2;
  #pragma unroll 2
  for (int i = 0; i < 2; i++) {
    #pragma unroll 2
    for (int h = 0; h < 2; h++) {
      const int e = (lane_row + 32*warp_row + 16*i + 8*h) % 8;
      const int e1 = (lane_row + 32*warp_row + 16*i + 8*h) / 8;
      #pragma unroll 4
      for (int j = 0; j < 4; j++) {
        f32x2 v0;
        #pragma unroll
        for (int lane = 0; lane < 2; lane++) {
          v0.at[lane] = 0.0f;
        }
        #pragma unroll
        for (int lane = 0; lane < 2; lane++) {
          sum[16*i + 2*h + 4*j + lane] = v0.at[lane];
        }
      }
    }
  }
  const int e2 = thread / 4;
  const int e3 = thread % 4;
  #pragma unroll 3
  for (int row = 0; row < 3; row++) {
    const int e4 = (e2 + 16*row) % 16;
    const int e5 = (e2 + 16*row) / 16;
    const bf16x8 v1 = *(const bf16x8 *)(w + (8*e3 + 32*e4 + 512*e5));
    #pragma unroll
    for (int lane = 0; lane < 8; lane++) {
      all[8*row + lane] = v1.at[lane];
    }
  }
  const int e6 = thread / 2;
  const int e7 = thread % 2;
  #pragma unroll 3
  for (int row1 = 0; row1 < 3; row1++) {
    if (e6 + 32*row1 < 90) {
      const int e8 = (e6 + 32*row1) % 9;
      const int e9 = (e6 + 32*row1) / 9 % 10;
      tricot_copy16(halo + (8*e7 + 24*e8 + 216*e9), x + (2048*r + 128*r1 + 8*e7 + 16*e8
          + 256*e9 - 256), 8*r + e9 - 1 >= 0 && 8*r + e9 - 1 < 16 && 8*r1 + e8 < 16);
    }
  }
  TRICOT_COMMIT();
  TRICOT_WAIT(0);
  const int e10 = thread / 4;
  const int e11 = thread % 4;
  #pragma unroll 3
  for (int row2 = 0; row2 < 3; row2++) {
    const int e12 = (e10 + 16*row2) % 16;
    const int e13 = (e10 + 16*row2) / 16;
    bf16x8 v2;
    #pragma unroll
    for (int lane = 0; lane < 8; lane++) {
      v2.at[lane] = all[8*row2 + lane];
    }
    *(bf16x8 *)(weights + (8*e11 + 40*e12 + 640*e13)) = v2;
  }
  /* star:18 */
  TRICOT_SYNC();
  for (int k = 0; k < 3; k++) {
    /* star:19 */
    const int o = star_tap0[k];
    /* star:20 */
    const int o1 = star_tap1[k];
    #pragma unroll 2
    for (int j1 = 0; j1 < 4; j1 += 2) {
      const i32x4 v3 = tricot_matrix4_turned(weights + (640*k + 32*warp_column + 40*lane_16
          + 8*second_16 + 8*j1));
      #pragma unroll
      for (int lane = 0; lane < 4; lane++) {
        columns[2*j1 + lane] = v3.at[lane];
      }
    }
    #pragma unroll 2
    for (int i1 = 0; i1 < 2; i1++) {
      const int e14 = (32*warp_row + lane_16 + 16*i1) % 8;
      const int e15 = (32*warp_row + lane_16 + 16*i1) / 8;
      const i32x4 v4 = tricot_matrix4(halo + (216*o + 24*o1 + 8*second_16 + 24*e14 + 216*e15
          + 216));
      #pragma unroll 4
      for (int j2 = 0; j2 < 4; j2++) {
        i32x2 v5;
        #pragma unroll
        for (int lane = 0; lane < 2; lane++) {
          v5.at[lane] = columns[2*j2 + lane];
        }
        f32x4 v6;
        #pragma unroll
        for (int lane = 0; lane < 4; lane++) {
          v6.at[lane] = sum[16*i1 + 4*j2 + lane];
        }
        const f32x4 v7 = tricot_mma_bf16(v4, v5, v6);
        #pragma unroll
        for (int lane = 0; lane < 4; lane++) {
          sum[16*i1 + 4*j2 + lane] = v7.at[lane];
        }
      }
    }
  }
  #pragma unroll 2
  for (int i2 = 0; i2 < 2; i2++) {
    #pragma unroll 2
    for (int h1 = 0; h1 < 2; h1++) {
      const int e16 = (lane_row + 32*warp_row + 16*i2 + 8*h1) % 8;
      const int e17 = (lane_row + 32*warp_row + 16*i2 + 8*h1) / 8;
      #pragma unroll 4
      for (int j3 = 0; j3 < 4; j3++) {
        f32x2 v8;
        #pragma unroll
        for (int lane = 0; lane < 2; lane++) {
          v8.at[lane] = sum[16*i2 + 2*h1 + 4*j3 + lane];
        }
        *(f32x2 *)(y + (4096*r + 256*r1 + 2*lane_column + 32*warp_column + 32*e16 + 512*e17
            + 8*j3)) = v8;
      }
    }
  }
}
