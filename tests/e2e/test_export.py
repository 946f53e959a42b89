"""`prefroute export onnx`, refused as a user meets it; what it makes is tested beside the router `bert_onnx`."""


def test_only_a_bert_router_is_exported(run):
    message = run.refused("export", "onnx", "default", "--out", "graph")

    assert message == "'default' holds a router of kind experts; only a bert router is exported to ONNX."
    assert not (run.folder / "graph").exists()


def test_a_folder_that_exists_is_left_alone(run):
    (run.folder / "graph").mkdir()

    assert "--out 'graph' exists and is left alone" in run.refused("export", "onnx", "default", "--out", "graph")


def test_training_a_graph_says_to_train_and_export(run, outcomes):
    message = run.refused(
        "train", "bert_onnx", "--data", outcomes, "--strong", "big", "--weak", "small", "--out", "graph"
    )

    assert "Run: prefroute train bert ... --out DIR and prefroute export onnx DIR --out OTHER" in message
