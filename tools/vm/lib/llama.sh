# SPDX-License-Identifier: MIT
#
# libllama and ggml as static libraries with their headers, and gguf-py, from the source package of llama-cpp-python. Built for SSE4.2 at most and without weight repacking: under TCG vector floating point is
# emulated, and one build must give the same bits on the host and in the guest.

LLAMA_SDIST=llama_cpp_python-0.3.36.tar.gz
LLAMA_SDIST_SHA256=832db0699007f1be95a7e41ef12e88926b02ba836461e36a36372db2760c1a2e
LLAMA_REQUIREMENT=llama-cpp-python==0.3.36
LLAMA_CMAKE="
	-DCMAKE_BUILD_TYPE=Release -DBUILD_SHARED_LIBS=OFF -DCMAKE_POSITION_INDEPENDENT_CODE=ON
	-DCMAKE_INSTALL_LIBDIR=lib
	-DLLAMA_BUILD_COMMON=OFF -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_TOOLS=OFF -DLLAMA_BUILD_EXAMPLES=OFF
	-DLLAMA_BUILD_SERVER=OFF -DLLAMA_BUILD_APP=OFF -DLLAMA_OPENSSL=OFF -DLLAMA_USE_PREBUILT_UI=OFF
	-DGGML_NATIVE=OFF -DGGML_SSE42=ON -DGGML_AVX=OFF -DGGML_AVX2=OFF -DGGML_BMI2=OFF -DGGML_FMA=OFF
	-DGGML_F16C=OFF -DGGML_CPU_REPACK=OFF -DGGML_OPENMP=OFF -DGGML_LLAMAFILE=OFF -DGGML_BLAS=OFF
	-DGGML_CCACHE=OFF
"
LLAMA_RECIPE=1

llama_dir() { { root_dir; printf '%s\n' "$LLAMA_SDIST_SHA256" "$LLAMA_RECIPE" $LLAMA_CMAKE; } | artefact_dir llama; }

setup_llama() {
	local dir
	dir=$(llama_dir)
	[ -d "$dir" ] && return 0
	setup_root && fetch_llama || return 1
	make_artefact llama "$dir" "building libllama for SSE4.2 (3-6 min)" make_llama
}

fetch_llama() {
	fetch_python "$LLAMA_REQUIREMENT" "$LLAMA_SDIST" "$LLAMA_SDIST_SHA256" --no-binary llama-cpp-python
}

make_llama() { build_llama "$1" . $LLAMA_CMAKE; }

# build_llama TARGET FOLDER OPTION...: a folder of the sources, configured, built and installed
build_llama() {
	local tmp=$1 folder=$2 source=$1.source
	shift 2
	# An interrupted build goes on where it was.
	mkdir -p "$source"
	cd "$source"
	[ -f build/build.ninja ] ||
		tar -xzf "$DOWNLOADS/$LLAMA_SDIST" --strip-components=3 --wildcards '*/vendor/llama.cpp/*'
	touch ggml/ggml.pc.in # the package leaves it out, ggml by itself asks for it
	root_exec cmake -S "$folder" -B build -G Ninja "$@" -DCMAKE_INSTALL_PREFIX="$tmp"
	root_exec ninja -C build -j "$JOBS"
	root_exec ninja -C build install
	cp LICENSE "$tmp/"
	# CMake and pkg-config files name the temporary prefix; nothing here uses them.
	rm -rf "$tmp/lib/cmake" "$tmp/lib/pkgconfig" "$tmp/bin"
	cd "$CACHE"
	remove_tree "$source"
}

# --- ggml as it would be built for a CPU of today: kvsink-bench micro holds its own speed against it ---

GGML_CMAKE="
	-DCMAKE_BUILD_TYPE=Release -DBUILD_SHARED_LIBS=OFF -DCMAKE_POSITION_INDEPENDENT_CODE=ON
	-DCMAKE_INSTALL_LIBDIR=lib -DGGML_BUILD_TESTS=OFF -DGGML_BUILD_EXAMPLES=OFF
	-DGGML_NATIVE=OFF -DGGML_SSE42=ON -DGGML_AVX=ON -DGGML_AVX2=ON -DGGML_BMI2=ON -DGGML_FMA=ON
	-DGGML_F16C=ON -DGGML_OPENMP=OFF -DGGML_BLAS=OFF -DGGML_CCACHE=OFF
"

ggml_dir() { { root_dir; printf '%s\n' "$LLAMA_SDIST_SHA256" $GGML_CMAKE; } | artefact_dir ggml; }

setup_ggml() {
	[ -d "$(ggml_dir)" ] && return 0
	setup_root && fetch_llama || return 1
	make_artefact ggml "$(ggml_dir)" "building ggml for AVX2 (1-2 min)" make_ggml
}

make_ggml() { build_llama "$1" ggml $GGML_CMAKE; }

# --- gguf-py, for tests that write a small model ---

# What it imports and the root does not have: pure Python, unpacked beside it.
GGUF_PY_PACKAGES="python3-yaml python3-tqdm"

gguf_py_dir() { { root_dir; printf '%s\n' "$LLAMA_SDIST_SHA256" $GGUF_PY_PACKAGES; } | artefact_dir gguf-py; }

setup_gguf_py() {
	[ -d "$(gguf_py_dir)" ] && return 0
	setup_root && fetch_llama || return 1
	make_artefact gguf-py "$(gguf_py_dir)" "unpacking gguf-py" make_gguf_py
}

make_gguf_py() {
	local tmp=$1
	cd "$tmp"
	tar -xzf "$DOWNLOADS/$LLAMA_SDIST" --strip-components=4 --wildcards '*/vendor/llama.cpp/gguf-py/*'
	root_apt "$tmp/apt" update
	root_apt "$tmp/apt" download $GGUF_PY_PACKAGES
	root_exec sh -euc 'for deb in *.deb; do dpkg-deb -x "$deb" unpacked; done'
	mv unpacked/usr/lib/python3/dist-packages/yaml unpacked/usr/lib/python3/dist-packages/tqdm .
	rm -rf apt unpacked ./*.deb
}
