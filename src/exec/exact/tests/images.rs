//! Images, blocks and regions.

use super::*;

fn ints(numbers: &[i64]) -> Attr {
    Attr::Ints(numbers.to_vec())
}

fn assert_near(got: &Tensor, dims: &[usize], expected: &[f64]) {
    assert_eq!(got.dims(), dims);
    let got = got.reals().unwrap();
    assert!(got.iter().zip(expected).all(|(g, e)| (g - e).abs() < 1e-5), "{got:?} is not {expected:?}");
}

#[test]
fn a_region_is_the_mean_of_samples_between_pixels() {
    let x = tensor(&[1, 1, 4, 4], &(0..16u8).map(f32::from).collect::<Vec<_>>());
    let regions = tensor(&[2, 4], &[0f32, 0.0, 4.0, 4.0, 0.5, 0.5, 2.5, 2.5]);
    let of = Tensor::vector(&[0, 0]);
    let align = |mode: &'static str, samples: i64| {
        let attrs: [(&'static str, Attr); 4] = [
            ("coordinate_transformation_mode", mode.into()),
            ("output_height", 2.into()),
            ("output_width", 2.into()),
            ("sampling_ratio", samples.into()),
        ];
        fold(OpKind::RoiAlign, &attrs, &[x.clone(), regions.clone(), of.clone()]).unwrap()
    };
    // Bins of two pixels each way: samples at pixel centres, so means of four; then at a single place each.
    assert_near(&align("half_pixel", 0), &[2, 1, 2, 2], &[2.5, 4.5, 10.5, 12.5, 2.5, 3.5, 6.5, 7.5]);
    // Without the shift of half a pixel, places beyond the last centre are held there.
    assert_near(&align("output_half_pixel", 1), &[2, 1, 2, 2], &[5.0, 7.0, 13.0, 15.0, 5.0, 6.0, 9.0, 10.0]);
}

#[test]
fn a_region_has_an_image() {
    let x = tensor(&[1, 1, 2, 2], &[0f32; 4]);
    let call = |of: i64| fold(OpKind::RoiAlign, &[], &[x.clone(), tensor(&[1, 4], &[0f32; 4]), Tensor::vector(&[of])]);
    assert!(call(0).is_ok());
    assert!(matches!(call(1), Err(Unable::Malformed(_))));
    let endless = tensor(&[1, 4], &[0f32, 0.0, 1e30, 1e30]);
    assert!(matches!(fold(OpKind::RoiAlign, &[], &[x, endless, Tensor::vector(&[0])]), Err(Unable::TooLarge { .. })));
}

#[test]
fn blocks_that_overlap_are_added() {
    let x = tensor(&[1, 4, 4], &[1f32; 16]);
    let made = fold(OpKind::Col2Im, &[], &[x.clone(), Tensor::vector(&[3, 3]), Tensor::vector(&[2, 2])]).unwrap();
    assert_near(&made, &[1, 1, 3, 3], &[1.0, 2.0, 1.0, 2.0, 4.0, 2.0, 1.0, 2.0, 1.0]);
    // What lies in the padding is dropped.
    let attrs = [("pads", ints(&[1, 1, 1, 1])), ("strides", ints(&[2, 2]))];
    let made = fold(OpKind::Col2Im, &attrs, &[x.clone(), Tensor::vector(&[2, 2]), Tensor::vector(&[2, 2])]).unwrap();
    assert_near(&made, &[1, 1, 2, 2], &[1.0; 4]);
    let misfit = fold(OpKind::Col2Im, &[], &[x, Tensor::vector(&[5, 3]), Tensor::vector(&[2, 2])]);
    assert!(matches!(misfit, Err(Unable::Malformed(_))));
}

#[test]
fn taps_that_move_see_between_pixels() {
    let x = tensor(&[1, 1, 3, 3], &(0..9u8).map(f32::from).collect::<Vec<_>>());
    let w = tensor(&[1, 1, 2, 2], &[1f32; 4]);
    let offset = |down: f32| {
        let elements: Vec<f32> = (0..8).flat_map(|i| [if i % 2 == 0 { down } else { 0.0 }; 4]).collect();
        tensor(&[1, 8, 2, 2], &elements)
    };
    let call = |down: f32, more: &[Tensor]| {
        fold(OpKind::DeformConv, &[], &[&[x.clone(), w.clone(), offset(down)], more].concat()).unwrap()
    };
    assert_near(&call(0.0, &[]), &[1, 1, 2, 2], &[8.0, 12.0, 20.0, 24.0]);
    // Half a pixel lower: the last row is half outside, where there is nothing.
    assert_near(&call(0.5, &[]), &[1, 1, 2, 2], &[14.0, 18.0, 16.5, 19.5]);
    let (bias, mask) = (tensor(&[1], &[1f32]), tensor(&[1, 4, 2, 2], &[0.5f32; 16]));
    assert_near(&call(0.0, &[bias, mask]), &[1, 1, 2, 2], &[5.0, 7.0, 11.0, 13.0]);
}
