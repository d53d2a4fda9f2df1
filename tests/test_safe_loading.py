"""Every call that could run code from a file is made with the arguments that prevent it, also in future code."""

import ast

from conftest import PROJECT

CODE = sorted((PROJECT / "workflow").rglob("*.py"))
FORBIDDEN = {"pickle", "joblib", "dill", "cloudpickle", "marshal", "shelve", "_pickle"}
ALLOWED_NAMES = {"UnpicklingError"}  # to catch it
# Arguments that each call must pass literally, by the last part of its name and by its owner.
WORDS = {
    "load": {("np", "numpy"): {"allow_pickle": False}, ("torch",): {"weights_only": True}},
    "from_pretrained": {(): {"trust_remote_code": False}},
    "from_config": {(): {"trust_remote_code": False}},
    "SentenceTransformer": {(): {"trust_remote_code": False}},
    "main_export": {(): {"trust_remote_code": False}},
}
MODELS = {"AutoModel", "AutoModelForCausalLM", "AutoModelForMaskedLM"}
NEVER = {"eval", "exec", "compile", "__import__", "unsafe_load", "full_load", "read_pickle", "instantiate"}


def calls():
    for path in CODE:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                function = node.func
                name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
                owner = getattr(getattr(function, "value", None), "id", "")
                yield f"{path.relative_to(PROJECT)}:{node.lineno}", owner, name, node


def keyword_values(node):
    return {
        word.arg: word.value.value if isinstance(word.value, ast.Constant) else ast.unparse(word.value)
        for word in node.keywords
    }


def wanted(owner, name):
    for owners, words in WORDS.get(name, {}).items():
        if not owners or owner in owners:
            return words
    return {}


def test_loaders_receive_the_arguments_that_prevent_code():
    loaders, wrong = set(), []
    for where, owner, name, node in calls():
        words = wanted(owner, name)
        if words:
            loaders.add(name)
            given = keyword_values(node)
            wrong += [
                f"{where}: {owner}.{name} without {word}={value}"
                for word, value in words.items()
                if given.get(word, "") is not value
            ]
        if name == "from_pretrained" and owner in MODELS and keyword_values(node).get("use_safetensors") is not True:
            wrong.append(f"{where}: {owner}.from_pretrained without use_safetensors=True")
        if name == "SentenceTransformer" and "'use_safetensors': True" not in str(
            keyword_values(node).get("model_kwargs")
        ):
            wrong.append(f"{where}: SentenceTransformer without use_safetensors")
    assert not wrong
    assert loaders >= {"load", "from_pretrained", "from_config", "SentenceTransformer", "main_export"}


def test_no_text_is_run_as_code():
    wrong = [f"{where}: {owner}.{name}" for where, owner, name, node in calls() if runs_text(owner, name, node)]
    assert not wrong


def runs_text(owner, name, node):
    if name in ("compile", "eval"):  # `re.compile`, `model.compile` and `model.eval` are harmless
        return not owner and not isinstance(node.func, ast.Attribute)
    if name == "load" and owner == "yaml":
        return True
    shell = keyword_values(node).get("shell")
    return name in NEVER or shell is True or (owner == "os" and name in ("system", "popen"))


def test_no_module_reads_pickles():
    wrong = []
    for path in CODE:
        wrong += [f"{path.name}:{node.lineno}" for node in ast.walk(ast.parse(path.read_text())) if reads_pickles(node)]
    assert not wrong


def reads_pickles(node):
    if isinstance(node, ast.Import):
        return bool(FORBIDDEN & {alias.name.partition(".")[0] for alias in node.names})
    if isinstance(node, ast.ImportFrom):
        names = {alias.name for alias in node.names} - ALLOWED_NAMES
        return bool(names) and (node.module or "").partition(".")[0] in FORBIDDEN
    if isinstance(node, ast.keyword) and node.arg in ("trust_remote_code", "allow_pickle"):
        return not isinstance(node.value, ast.Constant) or node.value.value is not False
    return False
