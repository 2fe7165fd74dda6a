# The usual words for what the Swift package manager does.
.PHONY: all build test check format demo clean

all: build

build:
	swift build -c release

test:
	swift test

# Everything that every change must pass.
check:
	.ci/run

format:
	swift format --in-place --recursive Sources Tests Package.swift

demo:
	swift run -c release serverpyctl demo

clean:
	rm -rf .build .build-asan
