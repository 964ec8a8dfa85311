//! The task graph and its content keys: what is in them, what is not, and what a changed setting makes run again.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use plan::{Memory, Options, Plan, Preview, Previous, Reason, Sizing, TaskState, material};
use serde_json::{Value, json};
use types::{Digest, EmbeddingPooling, MelEdges, TaskGraph, TaskName, TaskSpec, content_key};

const PLAN: &str = include_str!("plans/two_members.toml");

fn parse(text: &str) -> Plan {
    Plan::parse(
        text,
        Path::new("plans/two_members.toml"),
        Options::default(),
    )
    .unwrap_or_else(|problems| panic!("{problems}"))
}

fn manifest() -> Digest {
    Digest::of(b"manifest")
}

/// The key of every task, when each output is a function of its task's key.
fn keys(graph: &TaskGraph) -> BTreeMap<TaskName, Digest> {
    let mut keys: BTreeMap<TaskName, Digest> = BTreeMap::new();
    for node in &graph.tasks {
        let inputs = node
            .inputs
            .iter()
            .map(|input| {
                (
                    input.role.clone(),
                    output(&keys[&input.task], &input.output),
                )
            })
            .chain(node.files.clone())
            .collect();
        keys.insert(node.name.clone(), content_key(&node.material, &inputs));
    }
    keys
}

fn output(key: &Digest, name: &str) -> Digest {
    Digest::of(format!("{key} {name}").as_bytes())
}

/// The tasks whose keys differ between two graphs of the same tasks.
fn changed(before: &TaskGraph, after: &TaskGraph) -> BTreeSet<String> {
    let (before, after) = (keys(before), keys(after));
    assert_eq!(
        before.keys().collect::<Vec<_>>(),
        after.keys().collect::<Vec<_>>()
    );
    before
        .iter()
        .filter(|(name, key)| after[*name] != **key)
        .map(|(name, _)| name.to_string())
        .collect()
}

/// Every leaf of a JSON value, in dots.
fn leaves(path: &str, value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (key, value) in map {
                leaves(
                    &if path.is_empty() {
                        key.clone()
                    } else {
                        format!("{path}/{key}")
                    },
                    value,
                    found,
                );
            }
        }
        _ => found.push(path.to_owned()),
    }
}

/// Another value that still fits the type.
fn other(path: &str, value: &Value) -> Value {
    match value {
        Value::Number(number) if number.is_f64() => {
            json!(number.as_f64().unwrap_or_default() + 0.125)
        }
        Value::Number(number) => json!(number.as_u64().unwrap_or_default() + 1),
        Value::Bool(flag) => json!(!flag),
        Value::Null if path.ends_with("metadata") || path.ends_with("durations") => {
            json!("other.tsv")
        }
        Value::Null if path.ends_with("impulse_responses") => json!("other"),
        Value::Null if path.ends_with("evaluation/test") => json!("public_eval"),
        Value::Null => json!(7),
        Value::Object(_) => json!({ "weak_train": "other.tsv" }),
        Value::Array(items) if path.ends_with("channels") => {
            let mut items = items.clone();
            items[3] = json!(99);
            Value::Array(items)
        }
        Value::Array(items) => Value::Array(items[1..].to_vec()),
        Value::String(text) => match text.as_str() {
            "adamw" => json!("adam"),
            "adaptive_average" => json!("nearest_exact"),
            "teacher" => json!("student"),
            "best" => json!("last"),
            "ordered" => json!("fast"),
            "strong" => json!("labeled"),
            "batch" => json!("clip"),
            "ensemble" => json!({ "member": "other" }),
            text if path.ends_with("manifest") => json!(Digest::of(text.as_bytes()).to_string()),
            text if types::Split::ALL.iter().any(|split| split.as_str() == text) => {
                json!("public_eval")
            }
            text => json!(format!("{text}2")),
        },
    }
}

#[test]
fn graph_of_two_members_and_two_iterations() {
    let graph = parse(PLAN).graph(manifest());
    let lines: Vec<String> = graph
        .tasks
        .iter()
        .map(|task| {
            let inputs: Vec<String> = task.inputs.iter().map(|input| input.role.clone()).collect();
            format!(
                "{} {:?} [{}] -> {}",
                task.name,
                task.world_sizes,
                inputs.join(" "),
                task.outputs.join(" ")
            )
        })
        .collect();
    insta::assert_snapshot!(lines.join("\n"));
}

#[test]
fn every_setting_is_in_the_key_except_the_listed_ones() {
    let graph = parse(PLAN).graph(manifest());
    let mut outside = BTreeSet::new();
    let mut tried = 0;
    for name in [
        "i2.s1.atst_a.train",
        "i1.s2.atst_b.predict.weak_train.0",
        "i1.pseudo_label",
        "i1.s1.ensemble.evaluate",
    ] {
        let node = graph.get(&TaskName::new(name).unwrap()).unwrap();
        let spec: Value = serde_json::from_str(&node.spec).unwrap();
        let mut paths = Vec::new();
        leaves("", &spec, &mut paths);
        // These cannot be changed alone; each has one value for now.
        paths.retain(|path| path != "kind" && path != "model/architecture");
        for path in paths {
            let mut changed = spec.clone();
            let leaf = changed.pointer_mut(&format!("/{path}")).unwrap();
            *leaf = other(&path, leaf);
            let changed: TaskSpec =
                serde_json::from_value(changed).unwrap_or_else(|error| panic!("{path}: {error}"));
            tried += 1;
            if material(&changed, &manifest()).unwrap() == node.material {
                outside.insert(path.replace('/', "."));
            }
        }
    }
    assert!(tried > 100, "{tried}");
    let listed = [
        "data.root",
        "runtime.checkpoint_every_steps",
        "runtime.keep_checkpoints",
        "runtime.prefetch_threads",
    ];
    assert_eq!(outside.into_iter().collect::<Vec<_>>(), listed);
}

#[test]
fn the_data_is_in_every_key() {
    let plan = parse(PLAN);
    let (before, after) = (
        plan.graph(manifest()),
        plan.graph(Digest::of(b"other data")),
    );
    for (before, after) in before.tasks.iter().zip(&after.tasks) {
        assert_ne!(before.material, after.material, "{}", before.name);
    }
}

#[test]
fn what_cannot_change_a_result_changes_no_key() {
    let before = parse(PLAN).graph(manifest());
    let text = PLAN
        .replace("name = \"two-members\"", "name = \"renamed\"")
        .replace("../data/two_members", "/elsewhere")
        .replace(
            "checkpoint_every_steps = 25",
            "checkpoint_every_steps = 3\nkeep_checkpoints = 5",
        )
        .replace("prefetch_threads = 1", "prefetch_threads = 2")
        .replace("gpus = { min = 2, max = 2 }", "gpus = { min = 1, max = 1 }");
    let after = parse(&text).graph(manifest());
    assert_ne!(before.tasks[0].spec, after.tasks[0].spec);
    assert_eq!(before.tasks[0].keep_checkpoints, 2);
    assert_eq!(after.tasks[0].keep_checkpoints, 5);
    assert_eq!(changed(&before, &after), BTreeSet::new());
}

/// A fast reduction sums in an order that depends on the size of the gang.
#[test]
fn the_world_size_is_in_the_key_where_the_reduction_is_fast() {
    let gangs = |text: &str, size: u32| {
        text.replace(
            "gpus = { min = 2, max = 2 }",
            &format!("gpus = {{ min = {size}, max = {size} }}"),
        )
    };
    let fast = PLAN.replace(
        "gpus = { min = 2, max = 2 }",
        "gpus = { min = 2, max = 2 }\nreduction = \"fast\"",
    );
    let (ordered, two) = (
        parse(PLAN).graph(manifest()),
        parse(&fast).graph(manifest()),
    );
    let one = parse(&gangs(&fast, 1)).graph(manifest());
    for (before, after) in [(&ordered, &two), (&two, &one)] {
        for (before, after) in before.tasks.iter().zip(&after.tasks) {
            let trains = after.kind == types::TaskKind::Train;
            assert_eq!(before.material != after.material, trains, "{}", after.name);
        }
    }
    let name = TaskName::new("i1.s2.atst_a.train").unwrap();
    assert_eq!(two.get(&name).unwrap().world_sizes, [2]);
}

/// The members' tasks that read what `i1.s2.atst_b.train` made, and all that reads them in turn.
fn downstream_of_stage2_of_b() -> BTreeSet<String> {
    let graph = parse(PLAN).graph(manifest());
    let mut found = BTreeSet::from(["i1.s2.atst_b.train".to_owned()]);
    for node in &graph.tasks {
        if node
            .inputs
            .iter()
            .any(|input| found.contains(input.task.as_str()))
        {
            found.insert(node.name.to_string());
        }
    }
    found
}

#[test]
fn one_members_stage_2_rate_in_one_iteration_changes_that_task_and_what_lies_downstream() {
    let before = parse(PLAN).graph(manifest());
    let text = PLAN.replacen(
        "[[iteration]]\n",
        "[[iteration]]\nmember.atst_b.stage2.optimizer.lr_cnn = 2e-3\n",
        1,
    );
    let after = parse(&text).graph(manifest());
    let changed = changed(&before, &after);
    assert_eq!(changed, downstream_of_stage2_of_b());
    assert!(changed.contains("i1.pseudo_label") && changed.contains("i2.s1.atst_a.train"));
    assert!(!changed.contains("i1.s2.atst_a.train") && !changed.contains("i1.s1.atst_b.train"));
}

#[test]
fn one_members_stage_2_rate_changes_its_tasks_alone_where_nothing_is_shared() {
    let before = parse(PLAN).graph(manifest());
    let text = PLAN.replace("seed = 2\n", "seed = 2\nstage2.optimizer.lr_cnn = 2e-3\n");
    let after = parse(&text).graph(manifest());
    assert_eq!(
        changed(&before, &after),
        downstream_of_stage2_of_b(),
        "iteration 2 lies downstream as a whole"
    );
    let own: Vec<&str> = before
        .tasks
        .iter()
        .zip(&after.tasks)
        .filter(|(before, after)| before.material != after.material)
        .map(|(node, _)| node.name.as_str())
        .collect();
    assert_eq!(own, ["i1.s2.atst_b.train", "i2.s2.atst_b.train"]);
}

/// A run that finished, as a store would remember it.
struct Finished {
    outputs: BTreeMap<Digest, BTreeMap<String, Digest>>,
    previous: BTreeMap<TaskName, Previous>,
}

impl Finished {
    fn of(graph: &TaskGraph) -> Self {
        let keys = keys(graph);
        let mut finished = Self {
            outputs: BTreeMap::new(),
            previous: BTreeMap::new(),
        };
        for node in &graph.tasks {
            let key = keys[&node.name];
            let outputs = node
                .outputs
                .iter()
                .map(|name| (name.clone(), output(&key, name)))
                .collect();
            finished.outputs.insert(key, outputs);
            let inputs = node.inputs.iter().map(|input| {
                (
                    input.role.clone(),
                    output(&keys[&input.task], &input.output),
                )
            });
            let previous = Previous {
                spec: node.spec.to_string(),
                inputs: Some(inputs.chain(node.files.clone()).collect()),
            };
            finished.previous.insert(node.name.clone(), previous);
        }
        finished
    }

    fn preview(&self, graph: &TaskGraph) -> Preview {
        let memory = Memory {
            outputs: &|key| self.outputs.get(key).cloned(),
            previous: &|name| self.previous.get(name).cloned(),
        };
        Preview::new(graph, &memory, 2)
    }
}

fn reasons(preview: &Preview, name: &str) -> Vec<String> {
    let task = preview
        .tasks
        .iter()
        .find(|task| task.name.as_str() == name)
        .expect(name);
    match &task.state {
        TaskState::Done { .. } => Vec::new(),
        TaskState::WouldRun { why } => why.iter().map(ToString::to_string).collect(),
    }
}

#[test]
fn a_first_run_runs_everything_and_a_second_nothing() {
    let graph = parse(PLAN).graph(manifest());
    let nothing = Memory {
        outputs: &|_| None,
        previous: &|_| None,
    };
    let first = Preview::new(&graph, &nothing, 2);
    assert_eq!(
        (first.totals.tasks, first.totals.done, first.totals.to_run),
        (graph.tasks.len(), 0, graph.tasks.len())
    );
    assert!(first.tasks.iter().all(|task| task.state
        == TaskState::WouldRun {
            why: vec![Reason::FirstRun]
        }));

    let second = Finished::of(&graph).preview(&graph);
    assert_eq!(
        (second.totals.done, second.totals.to_run),
        (graph.tasks.len(), 0)
    );
    assert!(
        second.totals_line().ends_with("nothing to do"),
        "{}",
        second.totals_line()
    );
}

#[test]
fn a_changed_rate_is_named_with_both_values() {
    let finished = Finished::of(&parse(PLAN).graph(manifest()));
    let text = PLAN.replacen(
        "[[iteration]]\n",
        "[[iteration]]\nmember.atst_b.stage2.optimizer.lr_cnn = 5e-4\n",
        1,
    );
    let preview = finished.preview(&parse(&text).graph(manifest()));
    assert_eq!(
        reasons(&preview, "i1.s2.atst_b.train"),
        ["setting changed: training.optimizer.lr_cnn: 0.001 -> 5e-4"]
    );
    assert_eq!(
        reasons(&preview, "i1.pseudo_label")
            .first()
            .map(String::as_str),
        Some("input from i1.s2.atst_b.predict.maestro_train.0, which will run")
    );
    assert_eq!(reasons(&preview, "i1.s1.atst_b.train"), [""; 0]);
    assert_eq!(preview.totals.to_run, downstream_of_stage2_of_b().len());
    insta::assert_snapshot!(preview.table());
    let json: Value = serde_json::from_str(&preview.json()).unwrap();
    let train = json["tasks"]
        .as_array()
        .unwrap()
        .iter()
        .find(|task| task["name"] == "i1.s2.atst_b.train")
        .unwrap();
    assert_eq!(train["state"], "would_run");
    assert_eq!(train["why"][0]["setting"], "training.optimizer.lr_cnn");
    assert_eq!(train["after"], json!(["i1.s1.atst_b.train"]));
    assert_eq!(train["devices"], json!([2]));
}

#[test]
fn changed_data_and_changed_numerics_are_told_apart() {
    let plan = parse(PLAN);
    let mut finished = Finished::of(&plan.graph(manifest()));
    let preview = finished.preview(&plan.graph(Digest::of(b"other data")));
    assert_eq!(reasons(&preview, "i1.s1.atst_a.train"), ["data changed"]);

    finished.outputs.clear();
    let preview = finished.preview(&plan.graph(manifest()));
    assert_eq!(
        reasons(&preview, "i1.s1.atst_a.train"),
        ["numerics changed with this version of the program"]
    );
    assert_eq!(
        reasons(&preview, "i1.s2.atst_a.train"),
        ["input from i1.s1.atst_a.train, which will run"]
    );
}

#[test]
fn an_input_of_other_content_is_named() {
    let graph = parse(PLAN).graph(manifest());
    let mut finished = Finished::of(&graph);
    let train = TaskName::new("i1.s1.atst_a.train").unwrap();
    let key = keys(&graph)[&train];
    finished.outputs.insert(
        key,
        BTreeMap::from([("checkpoint".to_owned(), Digest::of(b"trained again"))]),
    );
    let preview = finished.preview(&graph);
    assert_eq!(
        reasons(&preview, "i1.s2.atst_a.train"),
        ["input init from i1.s1.atst_a.train changed"]
    );
}

#[test]
fn more_devices_shorten_the_estimate_and_too_few_are_said_to_be_too_few() {
    let text = PLAN.replace("gpus = { min = 2, max = 2 }", "gpus = { min = 1, max = 1 }");
    let nothing = Memory {
        outputs: &|_| None,
        previous: &|_| None,
    };
    let time = |text: &str, devices| {
        Preview::new(&parse(text).graph(manifest()), &nothing, devices)
            .totals
            .estimate_seconds
    };
    let (one, two) = (time(&text, 1).unwrap(), time(&text, 2).unwrap());
    assert!(
        two < 0.8 * one && two >= 0.5 * one,
        "{one} s on one device, {two} s on two"
    );
    assert_eq!(time(PLAN, 1), None);
}

/// The plan with files from outside, in the folder `plans`.
fn with_files() -> Plan {
    let labels = [
        "maestro_train",
        "strong_train",
        "synth_train",
        "weak_train",
        "unlabeled_train",
    ]
    .map(|split| format!("{split} = \"labels/{split}.hdf5\""))
    .join(", ");
    parse(
        &PLAN
            .replace("seed = 2\n", "seed = 2\ninit = \"weights.ckpt\"\n")
            .replace(
                "pseudo_labels = \"previous\"",
                &format!("pseudo_labels = {{ {labels} }}"),
            ),
    )
}

fn digests(plan: &Plan) -> BTreeMap<PathBuf, Digest> {
    let files = plan.files().into_iter();
    files
        .map(|path| {
            (
                path.clone(),
                Digest::of(path.as_os_str().as_encoded_bytes()),
            )
        })
        .collect()
}

#[test]
fn files_from_outside_are_inputs_of_the_tasks_that_read_them() {
    let plan = with_files();
    let files = digests(&plan);
    let shown: Vec<&str> = files.keys().map(|path| path.to_str().unwrap()).collect();
    assert_eq!(
        shown,
        [
            "plans/labels/maestro_train.hdf5",
            "plans/labels/strong_train.hdf5",
            "plans/labels/synth_train.hdf5",
            "plans/labels/unlabeled_train.hdf5",
            "plans/labels/weak_train.hdf5",
            "plans/weights.ckpt"
        ]
    );
    let graph = plan.graph_of(manifest(), &files, &Sizing::default());
    assert!(
        graph
            .get(&TaskName::new("i1.pseudo_label").unwrap())
            .is_none()
    );
    let readers: Vec<String> = graph
        .tasks
        .iter()
        .filter(|node| !node.files.is_empty())
        .map(|node| {
            let roles: Vec<&str> = node.files.keys().map(String::as_str).collect();
            format!("{}: {}", node.name, roles.join(" "))
        })
        .collect();
    let labels = "pseudo_labels/maestro_train pseudo_labels/strong_train pseudo_labels/synth_train pseudo_labels/unlabeled_train pseudo_labels/weak_train";
    assert_eq!(
        readers,
        [
            "i1.s1.atst_b.train: pretrained".to_owned(),
            format!("i2.s1.atst_a.train: {labels}"),
            format!("i2.s1.atst_b.train: pretrained {labels}"),
        ]
    );

    let finished = Finished::of(&graph);
    let mut other = files.clone();
    other.insert("plans/weights.ckpt".into(), Digest::of(b"other weights"));
    let changed = plan.graph_of(manifest(), &other, &Sizing::default());
    let preview = finished.preview(&changed);
    assert_eq!(
        reasons(&preview, "i1.s1.atst_b.train"),
        ["file pretrained changed"]
    );
    assert_eq!(reasons(&preview, "i2.s1.atst_a.train"), [""; 0]);
    // A file that cannot be read is no file that was read.
    let unread = plan.graph(manifest());
    assert_eq!(
        reasons(&finished.preview(&unread), "i2.s1.atst_a.train").len(),
        5
    );
}

#[test]
fn predictions_differ_from_training_only_where_the_plan_says_so() {
    let text = PLAN.replace(
        "arch = \"atst_frame\"\nseed = 2",
        "arch = \"fpasst\"\nseed = 2",
    );
    let model = |text: &str, task: &str| {
        let graph = parse(text).graph(manifest());
        let node = graph.get(&TaskName::new(task).unwrap()).unwrap();
        match serde_json::from_str(&node.spec).unwrap() {
            TaskSpec::Train(spec) => spec.model,
            TaskSpec::Predict(spec) => spec.model,
            other => panic!("{other:?} has no network"),
        }
    };
    let predict = "i1.s2.atst_b.predict.desed_validation.0";
    let trained = model(&text, "i1.s2.atst_b.train");
    assert_eq!(trained.fpasst_mel, MelEdges { low: 1, high: 2000 });
    assert_eq!(trained.embedding_pooling, EmbeddingPooling::NearestExact);
    assert_eq!(model(&text, predict), trained);

    let like_theirs = text.replace(
        "[predict]\n",
        "[predict]\nembedding_pooling = \"adaptive_average\"\nfpasst_mel = { low = 10, high = 1000 }\n",
    );
    assert_eq!(model(&like_theirs, "i1.s2.atst_b.train"), trained);
    let predicted = model(&like_theirs, predict);
    assert_eq!(
        predicted.fpasst_mel,
        MelEdges {
            low: 10,
            high: 1000
        }
    );
    assert_eq!(
        predicted.embedding_pooling,
        EmbeddingPooling::AdaptiveAverage
    );
}
