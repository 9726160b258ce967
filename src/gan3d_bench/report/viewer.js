// Turns meshes: binary glTF files as gan3d-bench writes them, one mesh each, with positions,
// normals, indices and either uvs with one texture or vertex colours. One camera for all canvases.
"use strict";
(() => {
  const ARRAYS = { 5121: Uint8Array, 5123: Uint16Array, 5125: Uint32Array, 5126: Float32Array };
  const WIDTHS = { SCALAR: 1, VEC2: 2, VEC3: 3, VEC4: 4 };
  const START = { yaw: 0, pitch: 0, zoom: 1, look: "surface" };
  const camera = { ...START };
  const viewers = [];

  const VERTEX = `#version 300 es
    in vec3 position; in vec3 normal; in vec2 uv; in vec4 colour;
    uniform vec3 centre; uniform float radius; uniform mat3 rotation; uniform vec2 scale;
    out vec3 facing; out vec3 place; out vec2 texel; out vec4 tint;
    const float DISTANCE = 5.0, NEAR = 3.5, FAR = 6.5;
    void main() {
      place = rotation * ((position - centre) / radius);
      facing = rotation * normal; texel = uv; tint = colour;
      float w = DISTANCE - place.z;
      float depth = ((FAR + NEAR) * w - 2.0 * FAR * NEAR) / (FAR - NEAR);
      gl_Position = vec4(place.xy * scale * DISTANCE, depth, w);
    }`;
  const FRAGMENT = `#version 300 es
    precision highp float;
    in vec3 facing; in vec3 place; in vec2 texel; in vec4 tint;
    uniform sampler2D map; uniform int source; uniform bool bare;
    out vec4 result;
    vec3 srgb(vec3 c) {
      return mix(12.92 * c, 1.055 * pow(c, vec3(1.0 / 2.4)) - 0.055, step(0.0031308, c));
    }
    void main() {
      vec3 towards = normalize(vec3(0.0, 0.0, 5.0) - place);
      vec3 n = normalize(facing);
      n *= dot(n, towards) < 0.0 ? -1.0 : 1.0;
      float lit = pow((dot(n, normalize(vec3(-0.5, 0.6, 1.0))) + 1.0) / 2.0, 1.7);
      vec3 surface = vec3(0.8);
      if (source == 1) surface = texture(map, texel).rgb;
      if (source == 2) surface = srgb(tint.rgb);
      result = vec4(bare ? vec3(0.08 + 0.84 * lit) : surface * (0.45 + 0.55 * dot(n, towards)), 1.0);
    }`;

  function parse(bytes) {
    const view = new DataView(bytes.buffer);
    if (bytes.length < 28 || view.getUint32(0, true) !== 0x46546c67 || view.getUint32(4, true) !== 2) {
      throw new Error("not a binary glTF 2 file");
    }
    const length = view.getUint32(12, true);
    const tree = JSON.parse(new TextDecoder().decode(bytes.subarray(20, 20 + length)));
    const start = 28 + length;  // after the header, the JSON chunk and the binary chunk's header
    const section = (index) => {
      const { byteOffset = 0, byteLength } = tree.bufferViews[index];
      return bytes.subarray(start + byteOffset, start + byteOffset + byteLength);
    };
    const accessor = (index) => {
      if (index === undefined) return null;
      const { bufferView, byteOffset = 0, componentType, count, type } = tree.accessors[index];
      if (tree.bufferViews[bufferView].byteStride) throw new Error("interleaved buffers");
      const width = WIDTHS[type], kind = ARRAYS[componentType];
      const size = count * width * kind.BYTES_PER_ELEMENT;
      const data = new kind(section(bufferView).slice(byteOffset, byteOffset + size).buffer);
      return { data, width, componentType };
    };
    const primitive = tree.meshes[0].primitives[0];
    const { POSITION, NORMAL, TEXCOORD_0, COLOR_0 } = primitive.attributes;
    const surface = (tree.materials || [])[primitive.material]?.pbrMetallicRoughness;
    const texture = surface?.baseColorTexture;
    const image = texture && tree.images[tree.textures[texture.index].source];
    const picture = image && new Blob([section(image.bufferView)], { type: image.mimeType });
    return {
      position: accessor(POSITION), normal: accessor(NORMAL), uv: accessor(TEXCOORD_0),
      colour: accessor(COLOR_0), indices: accessor(primitive.indices), picture,
    };
  }

  function bounds({ data }) {
    const low = [Infinity, Infinity, Infinity], high = [-Infinity, -Infinity, -Infinity];
    for (let i = 0; i < data.length; i++) {
      low[i % 3] = Math.min(low[i % 3], data[i]);
      high[i % 3] = Math.max(high[i % 3], data[i]);
    }
    const centre = low.map((value, axis) => (value + high[axis]) / 2);
    return { centre, radius: Math.hypot(...high.map((value, axis) => value - centre[axis])) || 1 };
  }

  function program(gl) {
    const made = gl.createProgram();
    for (const [kind, text] of [[gl.VERTEX_SHADER, VERTEX], [gl.FRAGMENT_SHADER, FRAGMENT]]) {
      const shader = gl.createShader(kind);
      gl.shaderSource(shader, text);
      gl.compileShader(shader);
      gl.attachShader(made, shader);
    }
    gl.linkProgram(made);
    if (!gl.getProgramParameter(made, gl.LINK_STATUS)) throw new Error(gl.getProgramInfoLog(made));
    return made;
  }

  class Viewer {
    constructor(figure) {
      this.canvas = figure.querySelector("canvas");
      this.status = figure.querySelector(".status");
      this.sources = [...figure.querySelectorAll("script.mesh")];
      this.loaded = new Map();
      this.gl = this.canvas.getContext("webgl2", { antialias: true });
      if (!this.gl) throw new Error("WebGL 2 is not available in this browser");
      this.program = program(this.gl);
      this.buttons = [...figure.querySelectorAll("button[data-mesh]")];
      for (const button of this.buttons) {
        button.addEventListener("click", () => this.show(Number(button.dataset.mesh)));
      }
      new ResizeObserver(() => request()).observe(this.canvas);
      control(this.canvas);
    }

    async show(index) {
      press(this.buttons, this.buttons[index]);
      this.wanted = index;
      try {
        if (!this.loaded.has(index)) this.loaded.set(index, this.load(this.sources[index]));
        const mesh = await this.loaded.get(index);
        if (this.wanted !== index) return;
        this.mesh = mesh;
        this.status.textContent = "";
      } catch (error) {
        this.mesh = null;
        this.status.textContent = `Cannot be shown: ${error.message}`;
      }
      request();
    }

    async load(source) {
      const gl = this.gl;
      const parts = parse(Uint8Array.from(atob(source.textContent.trim()), (c) => c.charCodeAt(0)));
      if (!parts.position || !parts.normal || !parts.indices) throw new Error("no such surface");
      const bitmap = parts.picture ? await createImageBitmap(parts.picture) : null;
      const array = gl.createVertexArray();
      gl.bindVertexArray(array);
      for (const name of ["position", "normal", "uv", "colour"]) {
        const place = gl.getAttribLocation(this.program, name), part = parts[name];
        if (place < 0 || !part) continue;
        gl.bindBuffer(gl.ARRAY_BUFFER, gl.createBuffer());
        gl.bufferData(gl.ARRAY_BUFFER, part.data, gl.STATIC_DRAW);
        gl.enableVertexAttribArray(place);
        gl.vertexAttribPointer(place, part.width, part.componentType, part.componentType !== gl.FLOAT, 0, 0);
      }
      gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, gl.createBuffer());
      gl.bufferData(gl.ELEMENT_ARRAY_BUFFER, parts.indices.data, gl.STATIC_DRAW);
      gl.bindVertexArray(null);
      const texture = gl.createTexture();
      if (bitmap) {
        gl.bindTexture(gl.TEXTURE_2D, texture);
        gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA, gl.RGBA, gl.UNSIGNED_BYTE, bitmap);
        gl.generateMipmap(gl.TEXTURE_2D);
      }
      const { data, componentType } = parts.indices;
      const kind = bitmap && parts.uv ? 1 : parts.colour ? 2 : 0;
      return { array, texture, source: kind, count: data.length, componentType, ...bounds(parts.position) };
    }

    draw() {
      const { gl, canvas, mesh } = this;
      const side = (length) => Math.max(1, Math.round(length * Math.min(devicePixelRatio, 2)));
      const width = side(canvas.clientWidth), height = side(canvas.clientHeight);
      if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
      gl.viewport(0, 0, width, height);
      gl.clearColor(0, 0, 0, 0);
      gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
      if (!mesh) return;
      const uniform = (name) => gl.getUniformLocation(this.program, name);
      const [sy, cy, sp, cp] = [Math.sin(camera.yaw), Math.cos(camera.yaw), Math.sin(camera.pitch), Math.cos(camera.pitch)];
      const scale = 1.35 * camera.zoom, shorter = Math.min(width, height);
      gl.enable(gl.DEPTH_TEST);
      gl.useProgram(this.program);
      // columns; yaw about y, then pitch about x
      gl.uniformMatrix3fv(uniform("rotation"), false, [cy, sp * sy, -cp * sy, 0, cp, sp, sy, -sp * cy, cp * cy]);
      gl.uniform3fv(uniform("centre"), mesh.centre);
      gl.uniform1f(uniform("radius"), mesh.radius);
      gl.uniform2f(uniform("scale"), scale * shorter / width, scale * shorter / height);
      gl.uniform1i(uniform("source"), mesh.source);
      gl.uniform1i(uniform("bare"), camera.look === "shape" ? 1 : 0);
      gl.bindTexture(gl.TEXTURE_2D, mesh.texture);
      gl.bindVertexArray(mesh.array);
      gl.drawElements(gl.TRIANGLES, mesh.count, mesh.componentType, 0);
      gl.bindVertexArray(null);
      canvas.dataset.triangles = mesh.count / 3;
    }
  }

  function control(canvas) {
    const turn = (right, down) => {
      camera.yaw += right;
      camera.pitch = Math.max(-1.5, Math.min(1.5, camera.pitch + down));
      request();
    };
    const zoom = (factor) => {
      camera.zoom = Math.max(0.4, Math.min(10, camera.zoom * factor));
      request();
    };
    canvas.addEventListener("pointerdown", (event) => canvas.setPointerCapture(event.pointerId));
    canvas.addEventListener("pointermove", (event) => {
      if (event.buttons & 1) turn(event.movementX * 0.01, event.movementY * 0.01);
    });
    canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      zoom(Math.exp(-event.deltaY * 0.0015));
    }, { passive: false });
    canvas.addEventListener("dblclick", () => { Object.assign(camera, START, { look: camera.look }); request(); });
    const keys = {
      ArrowLeft: () => turn(-0.1, 0), ArrowRight: () => turn(0.1, 0), ArrowUp: () => turn(0, -0.1),
      ArrowDown: () => turn(0, 0.1), "+": () => zoom(1.15), "-": () => zoom(1 / 1.15),
    };
    canvas.addEventListener("keydown", (event) => {
      if (!keys[event.key]) return;
      event.preventDefault();
      keys[event.key]();
    });
  }

  function press(buttons, chosen) {
    for (const button of buttons) button.setAttribute("aria-pressed", String(button === chosen));
  }

  let requested = false;
  function request() {
    if (requested) return;
    requested = true;
    requestAnimationFrame(() => {
      requested = false;
      for (const viewer of viewers) viewer.draw();
    });
  }

  const looks = [...document.querySelectorAll("button[data-look]")];
  for (const button of looks) {
    button.addEventListener("click", () => {
      camera.look = button.dataset.look;
      press(looks, button);
      request();
    });
  }
  for (const figure of document.querySelectorAll("figure.viewer")) {
    try {
      const viewer = new Viewer(figure);
      viewers.push(viewer);
      viewer.show(0);
    } catch (error) {
      figure.querySelector(".status").textContent = `Cannot be shown: ${error.message}`;
    }
  }
})();
