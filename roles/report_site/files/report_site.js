// Corrections of flambé's pages; state.over is added by report_site.py.
(function () {
  var showEnv = updateEnv, showAlert = updateTopAlerts, showStages = updateVis;

  // Bootstrap draws the menu button only in a bar with a colour scheme.
  $(".navbar").addClass("navbar-light");
  // A dialog that fills a small window has no margin that could be clicked to close it.
  $("#configModal .modal-content").prepend(
    '<div class="modal-header"><h3 class="modal-title">Config</h3>' +
    '<button type="button" class="close" data-dismiss="modal" aria-label="Close">&times;</button></div>'
  );

  updateEnv = function (state) {
    showEnv(state);
    if (state.over && state.factories_num) {
      $("#env").text("Ran on " + state.factories_num + (state.factories_num === 1 ? " factory" : " factories"));
    }
  };

  updateTopAlerts = function (state) {
    showAlert(state);
    $("#progress").toggleClass("progress-bar-animated", !state.over);
    if (state.over && !state.finished) {
      $("#top-alert").attr("class", "alert alert-danger").text(
        "Experiment " + state.name + " ended before all of its stages were completed. See the console for the reason."
      );
    }
  };

  updateVis = function (state) {
    showStages(state);
    Object.keys(state.block_state).forEach(function (key) {
      if (state.over && state.block_state[key] === 1) {
        nodes.update([{id: key, color: {background: "#ffc107", highlight: {background: "#ffc107"}}}]);
        $("#" + key).find("#badge-status").attr("class", "badge badge-warning").text("Interrupted");
      }
    });
  };
})();
