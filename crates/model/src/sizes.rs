//! Settings that no network can have. Plans are checked with place and hint before they get here; these are the last gate, for
//! what a file says about itself.

use types::{Architecture, BeatsSettings, MelEdges, ModelSettings};

use crate::Error;

/// Beyond this a size is a mistake (or an attempt to fill the memory).
const WIDEST: u32 = 16_384;
const DEEPEST: u32 = 256;
/// The upper edge of a mel bank stays above 4000 Hz.
const WIDEST_EDGES: u32 = 4000;

pub(crate) fn check_sizes(settings: &ModelSettings) -> Result<(), Error> {
    let transformer = &settings.transformer;
    let crnn = &settings.crnn;
    let widths = [
        ("transformer.dim", transformer.dim),
        ("transformer.heads", transformer.heads),
        ("crnn.fusion_dim", crnn.fusion_dim),
        ("crnn.rnn_hidden", crnn.rnn_hidden),
        ("audioset_head", settings.audioset_head.unwrap_or(1)),
    ];
    let channels = crnn.channels.map(|count| ("crnn.channels", count));
    for (key, value) in widths.into_iter().chain(channels) {
        within(key, value, WIDEST)?;
    }
    within("transformer.depth", transformer.depth, DEEPEST)?;
    within("transformer.mlp_ratio", transformer.mlp_ratio, DEEPEST)?;
    within("crnn.rnn_layers", crnn.rnn_layers, DEEPEST)?;
    multiple_of(
        "transformer.dim",
        transformer.dim,
        "transformer.heads",
        transformer.heads,
    )?;
    match settings.architecture {
        Architecture::AtstFrame => Ok(()),
        Architecture::Fpasst => check_edges(settings.fpasst_mel),
        Architecture::Beats => check_beats(&settings.beats, transformer.dim),
    }
}

fn check_edges(edges: MelEdges) -> Result<(), Error> {
    within("fpasst_mel.low", edges.low, WIDEST_EDGES)?;
    within("fpasst_mel.high", edges.high, WIDEST_EDGES)
}

fn check_beats(beats: &BeatsSettings, dim: u32) -> Result<(), Error> {
    within("beats.patch_dim", beats.patch_dim, WIDEST)?;
    within("beats.position_kernel", beats.position_kernel, WIDEST)?;
    within("beats.position_groups", beats.position_groups, WIDEST)?;
    within("beats.buckets", beats.buckets, WIDEST)?;
    multiple_of(
        "transformer.dim",
        dim,
        "beats.position_groups",
        beats.position_groups,
    )?;
    multiple_of("beats.buckets", beats.buckets, "4", 4)?;
    if beats.max_distance <= beats.buckets / 4 {
        return Err(Error::Settings {
            key: "beats.max_distance",
            found: beats.max_distance.to_string(),
            expected: format!(
                "more than a quarter of beats.buckets, {}",
                beats.buckets / 4
            ),
        });
    }
    let shares = [
        ("beats.dropout", beats.dropout),
        ("beats.attention_dropout", beats.attention_dropout),
        ("beats.activation_dropout", beats.activation_dropout),
        ("beats.input_dropout", beats.input_dropout),
        ("beats.layerdrop", beats.layerdrop),
        ("beats.gradient_decay", beats.gradient_decay),
    ];
    match shares
        .into_iter()
        .find(|(_, share)| !(0.0..=1.0).contains(share))
    {
        None => Ok(()),
        Some((key, share)) => Err(Error::Settings {
            key,
            found: share.to_string(),
            expected: "0 to 1".to_owned(),
        }),
    }
}

fn within(key: &'static str, value: u32, most: u32) -> Result<(), Error> {
    if (1..=most).contains(&value) {
        return Ok(());
    }
    Err(Error::Settings {
        key,
        found: value.to_string(),
        expected: format!("1 to {most}"),
    })
}

fn multiple_of(key: &'static str, value: u32, what: &str, divisor: u32) -> Result<(), Error> {
    if value.is_multiple_of(divisor) {
        return Ok(());
    }
    Err(Error::Settings {
        key,
        found: value.to_string(),
        expected: if what == divisor.to_string() {
            format!("a multiple of {divisor}")
        } else {
            format!("a multiple of {what} = {divisor}")
        },
    })
}

#[cfg(test)]
mod tests {
    use types::{CrnnSettings, DecibelFloor, EmbeddingPooling, TransformerSettings};

    use super::*;

    fn published(architecture: Architecture) -> ModelSettings {
        ModelSettings {
            architecture,
            transformer: TransformerSettings::PUBLISHED,
            beats: BeatsSettings::PUBLISHED,
            audioset_head: None,
            embedding_pooling: EmbeddingPooling::AdaptiveAverage,
            crnn: CrnnSettings::PUBLISHED,
            atst_floor: DecibelFloor::Batch,
            fpasst_mel: MelEdges::FIXED,
            init_seed: 0,
        }
    }

    #[test]
    fn published_sizes_are_sizes() {
        for architecture in Architecture::ALL {
            check_sizes(&published(architecture)).unwrap();
        }
    }

    #[test]
    fn impossible_sizes_are_named() {
        type Change = fn(&mut ModelSettings);
        let cases: [(Change, &str); 12] = [
            (
                |s| s.transformer.depth = 0,
                "transformer.depth is 0, expected 1 to 256",
            ),
            (
                |s| s.transformer.dim = 4_000_000_000,
                "transformer.dim is 4000000000",
            ),
            (
                |s| s.transformer.heads = 7,
                "a multiple of transformer.heads = 7",
            ),
            (|s| s.crnn.channels[6] = 0, "crnn.channels is 0"),
            (|s| s.audioset_head = Some(0), "audioset_head is 0"),
            (|s| s.beats.patch_dim = 0, "beats.patch_dim is 0"),
            (
                |s| s.beats.position_groups = 0,
                "beats.position_groups is 0",
            ),
            (
                |s| s.beats.position_groups = 7,
                "a multiple of beats.position_groups = 7",
            ),
            (
                |s| s.beats.position_kernel = 0,
                "beats.position_kernel is 0",
            ),
            (
                |s| s.beats.buckets = 6,
                "beats.buckets is 6, expected a multiple of 4",
            ),
            (|s| s.beats.max_distance = 80, "beats.max_distance is 80"),
            (
                |s| s.beats.layerdrop = f64::NAN,
                "beats.layerdrop is NaN, expected 0 to 1",
            ),
        ];
        for (change, expected) in cases {
            let mut settings = published(Architecture::Beats);
            change(&mut settings);
            let error = check_sizes(&settings).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
        let mut settings = published(Architecture::Fpasst);
        settings.fpasst_mel.high = 16_000;
        let error = check_sizes(&settings).unwrap_err().to_string();
        assert!(error.contains("fpasst_mel.high is 16000"), "{error}");
    }
}
