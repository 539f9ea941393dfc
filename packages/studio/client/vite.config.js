// One script and one style: the server gives each document a nonce for them, and nothing else may run.
export default {
  build: {
    outDir: "../page",
    emptyOutDir: true,
    cssCodeSplit: false,
    modulePreload: false,
    rollupOptions: {
      input: "main.tsx",
      output: { entryFileNames: "studio.js", assetFileNames: "studio[extname]" },
    },
  },
};
