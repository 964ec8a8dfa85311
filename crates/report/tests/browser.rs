//! The demo's page in a real browser, Chromium: what it asks the network for, how wide it is, and how it looks.
//!
//! Where there is no Chromium the tests say so and pass, except where the environment variable `CI` is set. The pictures are left in
//! the build folder's `tmp/page`.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use serde_json::{Value, json};

/// For one answer: a loaded machine is slow; a browser that hangs is ended.
const LIMIT: Duration = Duration::from_secs(90);
const INSTALL: &str =
    "apt-get update && apt-get install -y --no-install-recommends chromium fonts-dejavu-core";

fn chromium() -> Option<PathBuf> {
    let folders = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&folders)
        .map(|folder| folder.join("chromium"))
        .find(|path| path.is_file());
    if found.is_none() {
        assert!(
            std::env::var_os("CI").is_none(),
            "the page was not looked at: there is no `chromium` on PATH; {INSTALL}"
        );
        eprintln!("skipped: there is no `chromium` on PATH ({INSTALL})");
    }
    found
}

/// A browser that is spoken to over its debugging pipe.
struct Browser {
    process: Child,
    commands: ChildStdin,
    replies: Receiver<Value>,
    session: String,
    number: u64,
    /// Every address that the page asked for.
    requests: Vec<String>,
    _profile: tempfile::TempDir,
}

impl Browser {
    fn open(binary: &Path, page: &Path) -> Self {
        let profile = tempfile::tempdir().unwrap();
        // The pipe's two ends are expected as file descriptors 3 and 4.
        let mut process = Command::new("sh")
            .args([
                "-c",
                r#"exec "$@" 3<&0 4>&1 0</dev/null 1>&2 2>/dev/null"#,
                "sh",
            ])
            .arg(binary)
            .args([
                "--headless=new",
                "--remote-debugging-pipe",
                "--no-sandbox",
                "--disable-gpu",
            ])
            .args([
                "--disable-dev-shm-usage",
                "--no-first-run",
                "--disable-background-networking",
            ])
            .args(["--hide-scrollbars", "--proxy-server=127.0.0.1:9"])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let commands = process.stdin.take().unwrap();
        let output = BufReader::new(process.stdout.take().unwrap());
        let (sender, replies) = channel();
        std::thread::spawn(move || {
            for message in output.split(0).map_while(Result::ok) {
                let message = serde_json::from_slice(&message).unwrap();
                if sender.send(message).is_err() {
                    return;
                }
            }
        });
        let mut browser = Self {
            process,
            commands,
            replies,
            session: String::new(),
            number: 0,
            requests: Vec::new(),
            _profile: profile,
        };
        let target = browser.ask("Target.createTarget", json!({ "url": "about:blank" }));
        let attach = json!({ "targetId": target["targetId"], "flatten": true });
        let attached = browser.ask("Target.attachToTarget", attach);
        browser.session = attached["sessionId"].as_str().unwrap().to_owned();
        for domain in ["Page", "Network"] {
            browser.ask(&format!("{domain}.enable"), json!({}));
        }
        browser.size(1280, 900, 1.0);
        let url = format!("file://{}", page.display());
        browser.ask("Page.navigate", json!({ "url": url }));
        browser.wait("Page.loadEventFired");
        browser
    }

    fn next(&mut self) -> Value {
        let message = self.replies.recv_timeout(LIMIT);
        let message = message.expect("the browser answers in time");
        if message["method"] == "Network.requestWillBeSent" {
            let url = message["params"]["request"]["url"].as_str().unwrap();
            self.requests.push(url.to_owned());
        }
        message
    }

    fn wait(&mut self, event: &str) {
        while self.next()["method"] != event {}
    }

    fn ask(&mut self, method: &str, params: Value) -> Value {
        self.number += 1;
        let mut command = json!({ "id": self.number, "method": method, "params": params });
        if !self.session.is_empty() {
            command["sessionId"] = json!(self.session);
        }
        self.commands
            .write_all(format!("{command}\0").as_bytes())
            .unwrap();
        loop {
            let mut message = self.next();
            if message["id"] == self.number {
                assert!(message["error"].is_null(), "{method}: {message}");
                return message["result"].take();
            }
        }
    }

    fn size(&mut self, width: u32, height: u32, scale: f64) {
        let mobile = width < 640;
        let size = json!({ "width": width, "height": height, "deviceScaleFactor": scale, "mobile": mobile });
        self.ask("Emulation.setDeviceMetricsOverride", size);
    }

    fn prefer(&mut self, scheme: &str) {
        let features = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
        self.ask(
            "Emulation.setEmulatedMedia",
            json!({ "features": features }),
        );
    }

    fn number(&mut self, expression: &str) -> f64 {
        let answer = self.ask("Runtime.evaluate", json!({ "expression": expression }));
        answer["result"]["value"]
            .as_f64()
            .unwrap_or_else(|| panic!("{expression}: {answer}"))
    }

    /// The page from its top, or as much of it as is asked for, as PNG.
    fn picture(&mut self, name: &str, height: Option<f64>) -> Picture {
        let width = self.number("innerWidth");
        let height = match height {
            Some(height) => height,
            None => self.number("document.documentElement.scrollHeight"),
        };
        let clip = json!({ "x": 0, "y": 0, "width": width, "height": height, "scale": 1 });
        let params = json!({ "format": "png", "captureBeyondViewport": true, "clip": clip });
        let answer = self.ask("Page.captureScreenshot", params);
        let bytes = base64(&answer["data"]);
        keep(name, &bytes);
        Picture::read(&bytes)
    }

    fn close(mut self) {
        let _ = self.ask("Browser.close", json!({}));
        self.process.wait().unwrap();
    }
}

impl Drop for Browser {
    /// Also after a failed assertion.
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn base64(data: &Value) -> Vec<u8> {
    use base64::Engine as _;
    let text = data.as_str().unwrap();
    base64::engine::general_purpose::STANDARD
        .decode(text)
        .unwrap()
}

fn folder() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("page");
    fs::create_dir_all(&folder).unwrap();
    folder
}

fn keep(name: &str, bytes: &[u8]) {
    fs::write(folder().join(name), bytes).unwrap();
}

/// Pixels of a screenshot.
struct Picture {
    width: u32,
    height: u32,
    /// Mean of the corner, 0 black to 255 white: the page's ground.
    ground: f64,
    /// The share of pixels that differ from the ground, of some hundred thousand looked at.
    drawn: f64,
    colours: usize,
}

impl Picture {
    fn read(bytes: &[u8]) -> Self {
        let mut reader = png::Decoder::new(std::io::Cursor::new(bytes))
            .read_info()
            .unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut pixels).unwrap();
        let samples = info.color_type.samples();
        let ground = &pixels[..3];
        let mut colours = std::collections::BTreeSet::new();
        let (mut seen, mut drawn) = (0_u32, 0_u32);
        // a prime stride, so that it does not walk down one column
        for pixel in pixels.chunks_exact(samples).step_by(61) {
            seen += 1;
            drawn += u32::from(pixel[..3] != *ground);
            colours.insert([pixel[0], pixel[1], pixel[2]]);
        }
        Self {
            width: info.width,
            height: info.height,
            ground: ground.iter().map(|value| f64::from(*value)).sum::<f64>() / 3.0,
            drawn: f64::from(drawn) / f64::from(seen),
            colours: colours.len(),
        }
    }

    fn is_full(&self) -> bool {
        self.drawn > 0.02 && self.colours > 50
    }
}

/// The text of every section, so that nothing of a document is cut off.
const OVERFLOW: &str = "document.documentElement.scrollWidth - innerWidth";

#[test]
fn the_demo_is_shown_whole_and_asks_for_nothing() {
    let Some(binary) = chromium() else { return };
    let path = folder().join("demo.html");
    fs::write(&path, report::run_html(&support::demo())).unwrap();
    let mut browser = Browser::open(&binary, &path);
    browser.prefer("light");
    assert_eq!(browser.number(OVERFLOW), 0.0, "sideways at 1280");
    let light = browser.picture("light.png", None);
    assert_eq!(light.width, 1280);
    assert!(light.height > 3000 && light.ground > 240.0 && light.is_full());
    let top = browser.picture("top.png", Some(900.0));
    assert_eq!((top.width, top.height), (1280, 900));
    browser.prefer("dark");
    let dark = browser.picture("dark.png", None);
    assert!(dark.ground < 40.0 && dark.is_full());
    browser.prefer("light");
    for width in [390, 320] {
        browser.size(width, 844, 1.0);
        assert_eq!(browser.number(OVERFLOW), 0.0, "sideways at {width}");
        assert_eq!(browser.number("innerWidth"), f64::from(width));
    }
    browser.size(390, 844, 2.0);
    let phone = browser.picture("phone.png", None);
    assert_eq!(phone.width, 780);
    assert!(phone.is_full());
    browser.size(1280, 900, 1.0);
    let pdf = browser.ask(
        "Page.printToPDF",
        json!({ "preferCSSPageSize": true, "printBackground": false }),
    );
    let pdf = base64(&pdf["data"]);
    keep("print.pdf", &pdf);
    assert!(pdf.starts_with(b"%PDF") && pdf.len() > 50_000);
    let asked: Vec<&String> = browser
        .requests
        .iter()
        .filter(|url| !url.starts_with("data:image/"))
        .collect();
    assert_eq!(asked, [&format!("file://{}", path.display())]);
    browser.close();
}
