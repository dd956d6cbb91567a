//! Crops against worked cases; everything as a function of seed, epoch and sample; mirrors by what the texts say.

use std::sync::Arc;

use std::collections::BTreeSet;

use arrow::array::StringArray;
use tch::Tensor;

use super::*;
use crate::fixture::{Asked, Result};
use crate::prepare::tests::Made;
use crate::prepare::{Batch, Extra};
use crate::students::Visual;

const SCALE: &str = "augment.crop_scale=[0.2, 0.6]";

fn draw(seed: u64, size: [u32; 2], scale: [f64; 2], ratio: [f64; 2]) -> Crop {
    Crop::draw(&mut generator("test", seed, 0, ""), size, scale, ratio)
}

#[test]
fn crops_of_one_size_are_those_worked_out_by_hand() {
    for (size, share, ratio, expected) in [
        // sqrt(6400 / 4) both ways.
        ([80, 80], 0.25, 1.0, [40, 40]),
        // 10000 x 0.16 = 1600 = 80 x 20.
        ([200, 50], 0.16, 4.0, [80, 20]),
        // 10000 x 0.02 = 200: sqrt(400) wide, sqrt(100) high.
        ([50, 200], 0.02, 2.0, [20, 10]),
        // 12 x 0.5 = 6: sqrt(6) = 2.45.
        ([4, 3], 0.5, 1.0, [2, 2]),
        ([4, 3], 1.0, 4.0 / 3.0, [4, 3]),
    ] {
        let places: BTreeSet<[u32; 2]> = (0..60)
            .map(|seed| {
                let crop = draw(seed, size, [share; 2], [ratio; 2]);
                assert_eq!([crop.width, crop.height], expected, "{size:?}");
                assert!(crop.left + crop.width <= size[0] && crop.top + crop.height <= size[1], "{crop:?}");
                [crop.left, crop.top]
            })
            .collect();
        let room = (size[0] - expected[0] + 1) * (size[1] - expected[1] + 1);
        assert!(places.len() as u32 > room.min(60) / 2, "{size:?}: {places:?}");
    }
}

#[test]
fn the_middle_is_taken_where_no_crop_fits() {
    let photo = [3.0 / 4.0, 4.0 / 3.0];
    for (size, ratio, expected) in [
        ([100, 50], photo, [16, 0, 67, 50]),
        ([30, 90], photo, [0, 25, 30, 40]),
        ([40, 40], photo, [0, 0, 40, 40]),
        // Twice as wide as high: half of a square's height.
        ([80, 80], [2.0; 2], [0, 20, 80, 40]),
        ([1, 1], [9.0; 2], [0, 0, 1, 1]),
    ] {
        let [left, top, width, height] = expected;
        assert_eq!(Crop::middle(size, ratio), Crop { left, top, width, height });
    }
    // The whole area in another ratio never fits.
    assert_eq!(draw(1, [80, 80], [1.0; 2], [2.0; 2]), Crop::middle([80, 80], [2.0; 2]));
}

#[test]
fn areas_and_ratios_are_drawn_over_their_whole_range() {
    let crops: Vec<Crop> = (0..2000).map(|seed| draw(seed, [400, 400], [0.1, 0.3], [0.5, 2.0])).collect();
    let shares: Vec<f64> = crops.iter().map(|c| f64::from(c.width * c.height) / 160_000.0).collect();
    let ratios: Vec<f64> = crops.iter().map(|c| f64::from(c.width) / f64::from(c.height)).collect();
    for (name, drawn, [least, most], middle) in
        [("area", &shares, [0.1, 0.3], 0.2), ("ratio", &ratios, [0.5, 2.0], 1.0)]
    {
        let (lowest, highest) = drawn.iter().fold((f64::MAX, 0.0_f64), |(a, b), x| (a.min(*x), b.max(*x)));
        assert!(lowest > 0.98 * least && lowest < 1.05 * least, "{name}: {lowest}");
        assert!(highest < 1.02 * most && highest > 0.95 * most, "{name}: {highest}");
        // A uniform ratio would have two thirds above 1.
        let above = drawn.iter().filter(|x| **x > middle).count() as f64 / drawn.len() as f64;
        assert!((above - 0.5).abs() < 0.04, "{name}: {above} above {middle}");
    }
}

/// An image whose pixel (x, y) is [x, y, 7].
fn places(width: u8, height: u8) -> Rgb {
    let data = (0..height).flat_map(|y| (0..width).flat_map(move |x| [x, y, 7])).collect();
    Rgb { width: width.into(), height: height.into(), data }
}

#[test]
fn pixels_are_cut_out_and_moved_as_said() {
    let cut = Crop { left: 1, top: 2, width: 2, height: 1 }.of(&places(4, 3));
    assert_eq!((cut.width, cut.height, cut.data), (2, 1, vec![1, 2, 7, 2, 2, 7]));
    let of = |moved: Move| moved.of(Arc::new(places(3, 2))).data.chunks(3).map(|p| [p[0], p[1]]).collect::<Vec<_>>();
    let (x, y) = (Move { mirror_x: true, ..Move::default() }, Move { mirror_y: true, ..Move::default() });
    assert_eq!(of(x), [[2, 0], [1, 0], [0, 0], [2, 1], [1, 1], [0, 1]]);
    assert_eq!(of(y), [[0, 1], [1, 1], [2, 1], [0, 0], [1, 0], [2, 0]]);
    let right = Move { dx: 2, dy: -1, ..Move::default() };
    assert_eq!(of(right), [[2, 0], [2, 0], [2, 0], [2, 0], [2, 0], [2, 0]]);
    let both = Move { mirror_x: true, dx: 1, ..Move::default() };
    assert_eq!(of(both)[..3], [[1, 0], [0, 0], [0, 0]]);
}

fn pixels_of(batch: &Batch) -> Vec<Vec<f32>> {
    let Visual::Pixels(pixels) = &batch.visual else { panic!("no pixels") };
    let (count, ..) = pixels.size4().unwrap();
    (0..count).map(|row| Vec::try_from(Tensor::reshape(&pixels.get(row), [-1])).unwrap()).collect()
}

#[test]
fn what_is_seen_depends_on_seed_epoch_and_sample_alone() -> Result {
    for settings in [&[SCALE][..], &["augment.mirror=0.5"], &["augment.shift_px=3"], &["augment.flip=true"]] {
        let made = Made::of(Asked::Choice, settings, |_| Extra::None)?;
        let rows = made.rows();
        let seen = |epoch: Option<u64>| -> Result<_> { Ok(pixels_of(&made.preparer.batch(&rows, epoch)?)) };
        let first = seen(Some(3))?;
        // The same in any other batch and order.
        for at in [40, 7, 21] {
            let alone = made.preparer.batch(&rows[at..=at], Some(3))?;
            assert!(pixels_of(&alone)[0] == first[at], "{settings:?}: sample {at}");
        }
        let plain = Made::of(Asked::Choice, &[], |_| Extra::None)?;
        let plain = pixels_of(&plain.preparer.batch(&plain.rows(), Some(3))?);
        assert!(seen(None)? == plain, "{settings:?} without an epoch");
        let reseeded = Made::of(Asked::Choice, &[settings, &["seed=2"]].concat(), |_| Extra::None)?;
        let reseeded = pixels_of(&reseeded.preparer.batch(&reseeded.rows(), Some(3))?);
        for (other, name) in [(plain, "none"), (seen(Some(4))?, "another epoch"), (reseeded, "another seed")] {
            let changed = first.iter().zip(&other).filter(|(a, b)| a != b).count();
            assert!(changed > rows.len() / 4, "{settings:?} is like {name} but for {changed} of {}", rows.len());
        }
    }
    Ok(())
}

#[test]
fn a_crop_is_resized_to_what_the_student_reads() -> Result {
    let made = Made::of(Asked::Class, &[SCALE, "student.image_size=8", "student.fit=squash"], |_| Extra::None)?;
    let (shard, sample) = (&made.shards[0], &made.shards[0].samples[3]);
    let image = pixels::decode(shard.images.value(sample.image))?;
    let seen = made.preparer.crop(|| Ok(image.clone()), 5, sample)?.ok_or("no crop")?;
    let crop = Crop::draw(&mut generator("crop", 1, 5, &sample.id), [16, 16], [0.2, 0.6], [0.75, 4.0 / 3.0]);
    assert!(crop.width < 16 && (seen.width, seen.height) == (8, 8));
    assert!(seen == pixels::resize(&crop.of(&image), 8, 8)?);
    let plain = Made::of(Asked::Class, &[], |_| Extra::None)?;
    assert!(plain.preparer.crop(|| Ok(image.clone()), 5, sample)?.is_none());
    Ok(())
}

#[test]
fn one_kind_does_not_change_what_another_draws() -> Result {
    let all = |settings: &[&str]| -> Result<Vec<Move>> {
        let made = Made::of(Asked::Class, settings, |_| Extra::None)?;
        let of = |(shard, row): (&Zipped, usize)| made.preparer.movement(2, shard, &shard.samples[row]);
        Ok(made.rows().into_iter().map(of).collect())
    };
    let shifted = all(&["augment.shift_px=6"])?;
    let both = all(&["augment.shift_px=6", "augment.mirror=0.5", SCALE])?;
    let mirrored = all(&["augment.mirror=0.5"])?;
    let flipped = all(&["augment.shift_px=6", "augment.flip=true"])?;
    for at in 0..shifted.len() {
        assert_eq!(both[at], Move { mirror_x: mirrored[at].mirror_x, ..shifted[at] });
        assert_eq!((flipped[at].dx, flipped[at].dy), (shifted[at].dx, shifted[at].dy));
    }
    let count = |moves: &[Move], which: fn(&Move) -> bool| moves.iter().filter(|moved| which(moved)).count();
    assert!((14..=34).contains(&count(&mirrored, |m| m.mirror_x)) && count(&mirrored, |m| m.mirror_y) == 0);
    assert!(count(&flipped, |m| m.mirror_x) > 14 && count(&flipped, |m| m.mirror_y) > 14);
    // The demo's recipes have drawn these since there were any: a change would change every run.
    let first = flipped.iter().take(3).map(|m| (m.dx, m.dy, m.mirror_x, m.mirror_y)).collect::<Vec<_>>();
    assert_eq!(first, [(-6, 1, true, true), (2, -2, true, true), (6, -3, true, false)]);
    Ok(())
}

#[test]
fn no_image_is_mirrored_where_anything_said_of_it_names_a_side() -> Result {
    let mut made = Made::of(Asked::Choice, &["augment.mirror=1.0"], |_| Extra::None)?;
    let mirrored = |made: &Made| -> Vec<bool> {
        let (preparer, shard) = (&made.preparer, &made.shards[0]);
        shard.samples.iter().map(|sample| preparer.movement(0, shard, sample).mirror_x).collect()
    };
    assert!(mirrored(&made).into_iter().all(|mirrored| mirrored));
    let shard = &mut made.shards[0];
    // The last candidate of sample 2 is a text of other samples too; sample 5's answer and sample 9's label name a side.
    let named = shard.samples[2].texts[2];
    let texts = shard.texts.iter().enumerate();
    let said = texts.map(|(row, text)| if row == named { "it is to the Left" } else { text.unwrap_or_default() });
    shard.texts = StringArray::from_iter_values(said.collect::<Vec<_>>());
    shard.samples[5].answers = vec!["no".to_owned(), "right".to_owned()];
    shard.samples[9].label_text = Some("westbound".to_owned());
    let expected: Vec<bool> = shard
        .samples
        .iter()
        .enumerate()
        .map(|(at, sample)| !sample.texts.contains(&named) && at != 5 && at != 9)
        .collect();
    assert!(expected.iter().filter(|mirrored| **mirrored).count() > 4);
    assert_eq!(mirrored(&made), expected);
    // `flip` asks no text: as many as ever.
    made.preparer.recipe.augment = Augment { flip: true, ..Augment::default() };
    let asked: Vec<bool> =
        mirrored(&made).into_iter().zip(&expected).filter(|(_, may)| !**may).map(|(is, _)| is).collect();
    assert!(asked.iter().any(|mirrored| *mirrored), "{asked:?}");
    Ok(())
}
