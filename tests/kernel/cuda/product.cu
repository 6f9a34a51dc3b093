/* matmul+add+cast
 * product:4 */
TRICOT_KERNEL(64, 6) product(const bf16 *__restrict__ x,
    const bf16 *__restrict__ w,
    const f32 *__restrict__ bias,
    bf16 *__restrict__ y) {
  const int i = TRICOT_BLOCK;
  const int thread = TRICOT_THREAD;
  f32 sum[32];
  TRICOT_SHARED(bf16, a, 0); /* 2560 */
  TRICOT_SHARED(bf16, b, 5120); /* 4608 */
  i32 columns[8];
  const int lane_row = thread / 4 % 8;
  const int lane_column = thread % 4;
  const int warp_row = thread / 32 % 1;
  const int warp_column = thread / 32;
  const int lane_8 = thread % 8;
  const int lane_16 = thread % 16;
  const int second_8 = thread / 8 % 2;
  const int second_16 = thread / 16 % 2;
  #pragma unroll 2
  for (int i1 = 0; i1 < 2; i1++) {
    #pragma unroll 2
    for (int h = 0; h < 2; h++) {
      #pragma unroll 4
      for (int j = 0; j < 4; j++) {
        f32x2 v0;
        #pragma unroll
        for (int lane = 0; lane < 2; lane++) {
          v0.at[lane] = 0.0f;
        }
        #pragma unroll
        for (int lane = 0; lane < 2; lane++) {
          sum[16*i1 + 2*h + 4*j + lane] = v0.at[lane];
        }
      }
    }
  }
  const int e4 = thread / 4;
  const int e5 = thread % 4;
  #pragma unroll 2
  for (int row2 = 0; row2 < 2; row2++) {
    tricot_copy16(a + (40*e4 + 8*e5 + 640*row2), x + (4096*i + 128*e4 + 8*e5 + 2048*row2), 1);
  }
  const int e6 = thread / 8;
  const int e7 = thread % 8;
  #pragma unroll 4
  for (int row3 = 0; row3 < 4; row3++) {
    tricot_copy16(b + (72*e6 + 8*e7 + 576*row3), w + (64*e6 + 8*e7 + 512*row3), 1);
  }
  TRICOT_COMMIT();
  /* product:9 */
  for (int k = 0; k < 128; k += 32) {
    const int now = k / 32 % 2;
    const int next = (k + 32) / 32 % 2;
    TRICOT_WAIT(0);
    TRICOT_SYNC();
    if (k < 96) {
      const int ahead = (k + 32);
      const int e8 = thread / 4;
      const int e9 = thread % 4;
      #pragma unroll 2
      for (int row4 = 0; row4 < 2; row4++) {
        tricot_copy16(a + (1280*next + 40*e8 + 8*e9 + 640*row4), x + (4096*i + ahead + 128*e8
            + 8*e9 + 2048*row4), 1);
      }
      const int e10 = thread / 8;
      const int e11 = thread % 8;
      #pragma unroll 4
      for (int row5 = 0; row5 < 4; row5++) {
        tricot_copy16(b + (2304*next + 72*e10 + 8*e11 + 576*row5), w + (64*ahead + 64*e10 + 8*e11
            + 512*row5), 1);
      }
    }
    TRICOT_COMMIT();
    #pragma unroll 2
    for (int k1 = 0; k1 < 32; k1 += 16) {
      #pragma unroll 2
      for (int j1 = 0; j1 < 4; j1 += 2) {
        const i32x4 v1 = tricot_matrix4_turned(b + (32*warp_column + 72*lane_16 + 8*second_16
            + 2304*now + 72*k1 + 8*j1));
        #pragma unroll
        for (int lane = 0; lane < 4; lane++) {
          columns[2*j1 + lane] = v1.at[lane];
        }
      }
      #pragma unroll 2
      for (int i2 = 0; i2 < 2; i2++) {
        const i32x4 v2 = tricot_matrix4(a + (1280*warp_row + 40*lane_16 + 8*second_16 + 1280*now
            + k1 + 640*i2));
        #pragma unroll 4
        for (int j2 = 0; j2 < 4; j2++) {
          i32x2 v3;
          #pragma unroll
          for (int lane = 0; lane < 2; lane++) {
            v3.at[lane] = columns[2*j2 + lane];
          }
          f32x4 v4;
          #pragma unroll
          for (int lane = 0; lane < 4; lane++) {
            v4.at[lane] = sum[16*i2 + 4*j2 + lane];
          }
          const f32x4 v5 = tricot_mma_bf16(v2, v3, v4);
          #pragma unroll
          for (int lane = 0; lane < 4; lane++) {
            sum[16*i2 + 4*j2 + lane] = v5.at[lane];
          }
        }
      }
    }
  }
  #pragma unroll 2
  for (int i3 = 0; i3 < 2; i3++) {
    #pragma unroll 2
    for (int h1 = 0; h1 < 2; h1++) {
      #pragma unroll 4
      for (int j3 = 0; j3 < 4; j3++) {
        f32x2 v6;
        #pragma unroll
        for (int lane = 0; lane < 2; lane++) {
          v6.at[lane] = sum[16*i3 + 2*h1 + 4*j3 + lane];
        }
        const f32x2 v7 = *(const f32x2 *)(bias + (2*lane_column + 32*warp_column + 8*j3));
        f32x2 v8;
        #pragma unroll
        for (int lane = 0; lane < 2; lane++) {
          v8.at[lane] = v6.at[lane] + v7.at[lane];
        }
        bf16x2 v9;
        #pragma unroll
        for (int lane = 0; lane < 2; lane++) {
          v9.at[lane] = tricot_narrow(v8.at[lane]);
        }
        *(bf16x2 *)(y + (2048*i + 64*lane_row + 2*lane_column + 2048*warp_row + 32*warp_column
            + 1024*i3 + 512*h1 + 8*j3)) = v9;
      }
    }
  }
}
