//! Where a tensor's elements lie in a file.

use std::borrow::Cow;

/// Elements in row-major order from `start`, or at strides from there. Checked against the file's length when made.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    /// Byte of the first element.
    pub(crate) start: usize,
    /// Elements from one index to the next, by axis; none when row-major without gaps.
    pub(crate) strides: Option<Vec<usize>>,
}

/// Bytes of a tensor; none when they are too many to count.
pub(crate) fn byte_length(shape: &[usize], width: usize) -> Option<usize> {
    // in the order of safetensors, which counts elements first and refuses what overflows before an axis of length 0
    let mut axes = shape.iter();
    let elements = axes.try_fold(1_usize, |product, &length| product.checked_mul(length))?;
    elements.checked_mul(width)
}

/// Elements from the first to behind the last; none when too many to count.
pub(crate) fn extent(shape: &[usize], strides: &[usize]) -> Option<usize> {
    if shape.contains(&0) {
        return Some(0);
    }
    let mut last = 0_usize;
    for (&length, &stride) in shape.iter().zip(strides) {
        last = last.checked_add((length - 1).checked_mul(stride)?)?;
    }
    last.checked_add(1)
}

/// Whether elements at these strides are row-major without gaps; axes of length 1 may have any stride.
pub(crate) fn is_contiguous(shape: &[usize], strides: &[usize]) -> bool {
    let mut expected = 1_usize;
    for (&length, &stride) in shape.iter().zip(strides).rev() {
        if length != 1 && stride != expected {
            return shape.contains(&0);
        }
        expected = expected.saturating_mul(length);
    }
    true
}

impl Layout {
    /// The elements in row-major order: borrowed where they lie so, gathered otherwise.
    pub(crate) fn read<'a>(&self, data: &'a [u8], shape: &[usize], width: usize) -> Cow<'a, [u8]> {
        let length = byte_length(shape, width).unwrap_or(0);
        let Some(strides) = &self.strides else {
            return Cow::Borrowed(&data[self.start..self.start + length]);
        };
        let mut gathered = Vec::with_capacity(length);
        let mut index = vec![0_usize; shape.len()];
        let mut place = self.start;
        while gathered.len() < length {
            gathered.extend_from_slice(&data[place..place + width]);
            for axis in (0..shape.len()).rev() {
                index[axis] += 1;
                place += strides[axis] * width;
                if index[axis] < shape[axis] {
                    break;
                }
                place -= strides[axis] * width * shape[axis];
                index[axis] = 0;
            }
        }
        Cow::Owned(gathered)
    }

    /// The layout of entries from `start` on of the first axis.
    pub(crate) fn at_row(&self, start: usize, row: usize, width: usize) -> Self {
        let step = match &self.strides {
            Some(strides) => strides.first().copied().unwrap_or(0) * width,
            None => row,
        };
        Self {
            start: self.start + start * step,
            strides: self.strides.clone(),
        }
    }
}
