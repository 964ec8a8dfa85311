//! Stories of the core: `tests/scripts/*.txt`, an input per line and below it, indented, what it leads to.
//!
//! `UPDATE_SCRIPTS=1` writes what happens into the files instead of comparing; read the difference before you keep it.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod stage;

use std::fs;
use std::path::Path;

use stage::Stage;

/// Plays one script; the text as it should be.
fn play(text: &str) -> String {
    let mut stage = Stage::default();
    let mut played = String::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        // What was expected last time is replaced by what happens now.
        if line.starts_with("  ") {
            continue;
        }
        played.push_str(line);
        played.push('\n');
        if let Some(name) = line.strip_prefix("graph ") {
            let mut body = String::new();
            for line in lines.by_ref() {
                played.push_str(line);
                played.push('\n');
                if line == "end" {
                    break;
                }
                body.push_str(line);
                body.push('\n');
            }
            stage.add_graph(name, &body);
        } else if let Some(command) = line.strip_prefix("> ") {
            for happened in stage.command(command) {
                played.push_str("  ");
                played.push_str(&happened);
                played.push('\n');
            }
        } else {
            assert!(
                line.is_empty() || line.starts_with('#'),
                "neither a comment nor a command: {line:?}"
            );
        }
    }
    played
}

#[test]
fn every_story_goes_as_told() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts");
    let mut files: Vec<_> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    assert!(
        files.len() >= 10,
        "the stories are missing from {}",
        folder.display()
    );
    let mut wrong = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        let played = play(&text);
        if played == text {
            continue;
        }
        if std::env::var_os("UPDATE_SCRIPTS").is_some() {
            fs::write(&file, &played).unwrap();
            continue;
        }
        let differs = text
            .lines()
            .zip(played.lines())
            .position(|(told, happened)| told != happened);
        let at = differs.unwrap_or(text.lines().count().min(played.lines().count()));
        wrong.push(format!(
            "{}:{}\n  told:     {}\n  happened: {}",
            file.display(),
            at + 1,
            text.lines().nth(at).unwrap_or("(the end)"),
            played.lines().nth(at).unwrap_or("(the end)")
        ));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
