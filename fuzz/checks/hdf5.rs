//! Any bytes are predictions in HDF5 or an error (the reader's panics count as errors). Every row that is promised can be
//! read or is refused; what is read is the same when it is written and read again, in one piece or clip by clip.

use tensorfile::hdf5::{Predictions, write_predictions};

#[path = "scratch.rs"]
mod scratch;

thread_local! {
    static SCRATCH: scratch::Scratch = scratch::Scratch::new();
}

/// In numbers; a reader of training data asks for a clip at a time.
const MOST_READ: usize = 1 << 20;

pub(crate) fn check(input: &[u8]) {
    SCRATCH.with(|scratch| {
        let path = scratch.write("fuzzed", input);
        let Ok(file) = Predictions::open(&path) else {
            return;
        };
        let [frames, classes] = file.shape();
        let clips = file.names().len();
        assert!(file.rows(clips, 1).is_err());
        let row = frames.saturating_mul(classes);
        if row == 0 || row > MOST_READ {
            return;
        }
        let few = clips.min(MOST_READ / row);
        let Ok(values) = file.rows(0, few) else {
            return;
        };
        assert_eq!(values.len(), few * row);
        // Two chunks of a damaged index may claim one place, so that the value there depends on what is read with it.
        for clip in [0, few / 2, few.saturating_sub(1)] {
            if clip < few
                && let Ok(one) = file.rows(clip, 1)
            {
                assert_eq!(one.len(), row);
            }
        }
        let again = scratch.path().join("again");
        let names = &file.names()[..few];
        write_predictions(&again, names, file.shape(), &values).expect("it can be written");
        if few > 0 {
            let again = Predictions::open(&again).expect("what was written can be read");
            assert_eq!(again.names(), names);
            for (start, count) in [(0, few), (few / 2, 1), (few - 1, 1)] {
                let part = again.rows(start, count);
                let part = part.expect("what was written can be read");
                assert!(same(&part, &values[start * row..(start + count) * row]));
            }
        }
    });
}

/// Bit by bit, as a NaN is no other NaN's equal.
fn same(one: &[f32], other: &[f32]) -> bool {
    one.iter()
        .map(|x| x.to_bits())
        .eq(other.iter().map(|x| x.to_bits()))
}
