"""What music is: reading scores, features, rendering to audio, pictures and pages (symusic and numpy, no torch)."""
