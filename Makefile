# The usual words for what the Swift package manager does.
.PHONY: all build test check chaos format demo deb clean

all: build

build:
	swift build -c release

test:
	swift test

# Everything that every change must pass.
check:
	.ci/run

# Everything dies while a client checks every answer; the table of bars, from three seeds.
chaos: build
	Tests/Chaos/run --times 3

format:
	swift format --in-place --recursive Sources Tests Package.swift

# A Debian package that needs no Swift where it is installed.
deb:
	deploy/debian/build

demo:
	swift run -c release serverpyctl demo

clean:
	rm -rf .build .build-asan .build-static
